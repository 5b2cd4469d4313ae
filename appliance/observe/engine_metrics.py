"""What model servers say about themselves, the same for each of them, under the name of the replica.

What an engine does not tell is not there: a zero would say that it told. Counters are the engine's own and begin anew
when its process does.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from appliance.domain.status import Measure, Reading
from appliance.observe.families import Cell, Series
from appliance.observe.maker import Maker

_WHO = ("runtime", "replica")
M = Measure


@dataclass(frozen=True, slots=True)
class _Shown:
    """How a measure is shown.

    Attributes:
        value: of the label that the family has beside the replica's, if it has one.
    """

    series: Series[Cell]
    value: tuple[str, ...] = ()


class EngineMetrics:
    """The families, and what is told to them."""

    def __init__(self, make: Maker) -> None:
        self._up = make.gauge("appliance_engine_up", "1 while an engine tells its own numbers when it is asked.", *_WHO)
        self._took = make.gauge("appliance_engine_scrape_seconds", "Time that an engine took to tell them.", *_WHO)
        gauges = {
            M.RUNNING: ("requests_running", "Requests that an engine works on, by its own count."),
            M.WAITING: ("requests_waiting", "Requests in an engine's own line."),
            M.CACHE_USED: ("kv_cache_usage_ratio", "Share of an engine's KV cache that is in use."),
        }
        counters = {
            M.PROMPT: ("prompt_tokens_total", "Prompt tokens that an engine was given."),
            M.PREFILLED: ("prefill_tokens_total", "Prompt tokens that an engine had to compute."),
            M.GENERATED: ("generation_tokens_total", "Tokens that an engine made."),
            M.PREFIX_QUERIED: (
                "prefix_cache_query_tokens_total",
                "Prompt tokens that an engine looked up in its prefix cache.",
            ),
            M.PREFIX_HIT: ("prefix_cache_hit_tokens_total", "Prompt tokens that were in an engine's prefix cache."),
            M.PREEMPTED: ("preemptions_total", "Requests that an engine put back because its KV cache was full."),
            M.DRAFTED: ("spec_draft_tokens_total", "Tokens that an engine's speculative decoding guessed."),
            M.ACCEPTED: ("spec_accepted_tokens_total", "Guessed tokens that were right."),
            M.REFUSED: ("refusals_total", "Requests that an engine would not take."),
        }
        self._gauges = {
            measure: _Shown(make.gauge(f"appliance_engine_{name}", text, *_WHO))
            for measure, (name, text) in gauges.items()
        }
        self._shown = self._gauges | {
            measure: _Shown(make.counter(f"appliance_engine_{name}", text, *_WHO))
            for measure, (name, text) in counters.items()
        }
        seconds = make.counter(
            "appliance_engine_stage_seconds_total",
            "Seconds that requests spent in each stage inside an engine.",
            *_WHO,
            "stage",
        )
        for measure, stage in {
            M.QUEUE_SECONDS: "queue",
            M.PREFILL_SECONDS: "prefill",
            M.DECODE_SECONDS: "decode",
        }.items():
            self._shown[measure] = _Shown(seconds, (stage,))
        finished = make.counter(
            "appliance_engine_finished_total", "Requests that ended inside an engine, and why.", *_WHO, "reason"
        )
        for measure, reason in {M.STOPPED: "stop", M.LENGTH: "length", M.ABORTED: "abort", M.FAILED: "error"}.items():
            self._shown[measure] = _Shown(finished, (reason,))

    def told(self, runtime: str, replica: str, reading: Reading | None, seconds: float) -> None:
        """An engine was asked, which took so long; None when it did not answer."""
        who = (runtime, replica)
        self._up[who].value = reading is not None
        self._took[who].value = seconds
        if reading is None:
            _forget(self._gauges.values(), replica)  # what it has counted stays so; what it does now is not known
            return
        for measure, value in reading.items():
            shown = self._shown[measure]
            shown.series[*who, *shown.value].value = value

    def gone(self, replica: str) -> None:
        """Its process has ended."""
        _forget([*self._shown.values(), _Shown(self._up), _Shown(self._took)], replica)


def _forget(shown: Iterable[_Shown], replica: str) -> None:
    for one in shown:
        for labels in [labels for labels in one.series if labels[1] == replica]:
            del one.series[labels]
