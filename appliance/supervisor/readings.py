"""An engine's own page for Prometheus, in our words. Pure.

The page is at most a megabyte and made by a program that we do not trust: a line that is none is passed over, and so
is a number that is none. Of several engines behind one page (vLLM with data parallelism) the counts are added.

Sources: vllm/v1/metrics/loggers.py of 0.8 to 0.23, llama.cpp's tools/server/README.md and server-context.cpp of
November 2026, SGLang's docs/references/production_metrics.md.
"""

import re
from collections.abc import Mapping
from math import isfinite

from appliance.domain.status import Measure, Reading

M = Measure
_WHY = re.compile(rb'finished_reason="(\w+)"')
_NAMES: Mapping[bytes, tuple[Measure, ...]] = {
    b"vllm:num_requests_running": (M.RUNNING,),
    b"vllm:num_requests_waiting": (M.WAITING,),
    b"vllm:kv_cache_usage_perc": (M.CACHE_USED,),
    b"vllm:gpu_cache_usage_perc": (M.CACHE_USED,),  # before 0.10
    b"vllm:prefix_cache_queries_total": (M.PREFIX_QUERIED,),
    b"vllm:prefix_cache_hits_total": (M.PREFIX_HIT,),
    b"vllm:prompt_tokens_total": (M.PROMPT,),
    b"vllm:request_prefill_kv_computed_tokens_sum": (M.PREFILLED,),
    b"vllm:generation_tokens_total": (M.GENERATED,),
    b"vllm:num_preemptions_total": (M.PREEMPTED,),
    b"vllm:spec_decode_num_draft_tokens_total": (M.DRAFTED,),
    b"vllm:spec_decode_num_accepted_tokens_total": (M.ACCEPTED,),
    b"vllm:request_queue_time_seconds_sum": (M.QUEUE_SECONDS,),
    b"vllm:request_prefill_time_seconds_sum": (M.PREFILL_SECONDS,),
    b"vllm:request_decode_time_seconds_sum": (M.DECODE_SECONDS,),
    b"vllm:admission_rejections_total": (M.REFUSED,),
    b"llamacpp:requests_processing": (M.RUNNING,),
    b"llamacpp:requests_deferred": (M.WAITING,),
    b"llamacpp:kv_cache_usage_ratio": (M.CACHE_USED,),  # older builds
    # llama-server counts what it computed and what it found in its cache apart; a prompt is both.
    b"llamacpp:prompt_tokens_total": (M.PREFILLED, M.PROMPT, M.PREFIX_QUERIED),
    b"llamacpp:prompt_tokens_cached_total": (M.PREFIX_HIT, M.PROMPT, M.PREFIX_QUERIED),
    b"llamacpp:tokens_predicted_total": (M.GENERATED,),
    b"llamacpp:prompt_seconds_total": (M.PREFILL_SECONDS,),
    b"llamacpp:tokens_predicted_seconds_total": (M.DECODE_SECONDS,),
    b"llamacpp:spec_decode_num_draft_tokens_total": (M.DRAFTED,),
    b"llamacpp:spec_decode_num_accepted_tokens_total": (M.ACCEPTED,),
    b"sglang:num_running_reqs": (M.RUNNING,),
    b"sglang:num_queue_reqs": (M.WAITING,),
    b"sglang:token_usage": (M.CACHE_USED,),
    b"sglang:prompt_tokens_total": (M.PROMPT, M.PREFIX_QUERIED),
    b"sglang:cached_tokens_total": (M.PREFIX_HIT,),
    b"sglang:generation_tokens_total": (M.GENERATED,),
}
_FINISHED = b"vllm:request_success_total"
_ENDS = {b"stop": M.STOPPED, b"length": M.LENGTH, b"abort": M.ABORTED, b"error": M.FAILED}


def _one_of(engine: bytes) -> bytes:
    names = sorted(name.removeprefix(engine) for name in (*_NAMES, _FINISHED) if name.startswith(engine))
    return engine + b"(?:" + b"|".join(names) + b")"


# Each line is looked for by the line's end before it, which is one byte and found quickly: a page of a thousand lines
# takes a tenth of a millisecond, and one of a megabyte less than two.
_SAMPLE = re.compile(
    rb"\n("
    + b"|".join(_one_of(engine) for engine in (b"vllm:", b"llamacpp:", b"sglang:"))
    + rb')(?:\{((?:[^"{}\n]|"(?:[^"\\\n]|\\.)*+")*+)\})?[ \t]++(\S++)'
)
_MOVES = (M.PROMPT, M.PREFILLED, M.GENERATED)


def reading_of(page: bytes) -> Reading:
    """What a page says; empty where it is none of an engine that we know."""
    found: dict[Measure, float] = {}
    for name, labels, text in _SAMPLE.findall(b"\n" + page):
        measures = _ended(labels) if name == _FINISHED else _NAMES.get(name, ())
        for measure in measures:
            value = _number(text)
            if value is None:
                continue
            known = found.get(measure, 0.0)
            found[measure] = max(known, value) if measure is M.CACHE_USED else known + value
    if M.PREFIX_HIT not in found:
        # An older llama-server: what it computed is all that it tells about.
        found.pop(M.PREFIX_QUERIED, None)
    return found


def moved(reading: Reading) -> float | None:
    """A count that grows while tokens are read or made; None where there is none."""
    counts = [reading[measure] for measure in _MOVES if measure in reading]
    return sum(counts) if counts else None


def _ended(labels: bytes) -> tuple[Measure, ...]:
    why = _WHY.search(labels)
    measure = _ENDS.get(why[1]) if why else None
    return (measure,) if measure else ()


def _number(text: bytes) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) and value >= 0 else None
