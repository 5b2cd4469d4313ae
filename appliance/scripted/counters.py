"""The `/metrics` page of a scripted engine, in the names of the one it imitates."""

from typing import Literal


def exposition(
    style: Literal["llama.cpp", "vllm"],
    model: str,
    *,
    running: int,
    waiting: int,
    prompt: int,
    generated: int,
    ended: tuple[int, int] = (0, 0),
    put_back: int = 0,
) -> bytes:
    """The page as Prometheus reads it.

    Args:
        style: whose names.
        model: the label that vLLM gives.
        running: requests being answered.
        waiting: requests without a place yet.
        prompt: tokens read so far.
        generated: tokens written so far.
        ended: requests that were answered, and that were left.
        put_back: requests that had to wait because the cache was full; it is full then.
    """
    rows: tuple[tuple[str, str, float], ...] = (
        ("llamacpp:requests_processing", "gauge", running),
        ("llamacpp:requests_deferred", "gauge", waiting),
        ("llamacpp:prompt_tokens_total", "counter", prompt),
        ("llamacpp:prompt_tokens_cached_total", "counter", 0),
        ("llamacpp:tokens_predicted_total", "counter", generated),
    )
    if style == "vllm":
        done, left = ended
        rows = (
            ("vllm:num_requests_running", "gauge", running),
            ("vllm:num_requests_waiting", "gauge", waiting),
            ("vllm:kv_cache_usage_perc", "gauge", 1.0 if put_back else min(running / 100, 0.9)),
            ("vllm:prefix_cache_queries_total", "counter", prompt),
            ("vllm:prefix_cache_hits_total", "counter", 0),
            ("vllm:num_preemptions_total", "counter", put_back),
            ("vllm:prompt_tokens_total", "counter", prompt),
            ("vllm:generation_tokens_total", "counter", generated),
            ('vllm:request_success_total{finished_reason="stop"}', "counter", done),
            ('vllm:request_success_total{finished_reason="abort"}', "counter", left),
        )
    labels = f'engine="0",model_name="{model}"' if style == "vllm" else ""
    return "".join(_lines(name, kind, value, labels) for name, kind, value in rows).encode()


def _lines(name: str, kind: str, value: float, labels: str) -> str:
    name, _, more = name.partition("{")
    inside = ",".join(filter(None, (labels, more.removesuffix("}"))))
    return f"# TYPE {name} {kind}\n{name}{f'{{{inside}}}' if inside else ''} {value}\n"
