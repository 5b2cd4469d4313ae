"""What exchanges cost and how they end: by model, and a few counters by key.

Everything that ends in the same way is counted in the same cells, which are looked up once for each way.
"""

from dataclasses import dataclass, field

from appliance.domain.calls import Usage
from appliance.observe.families import Buckets, Cell, Traced
from appliance.observe.log import ExchangeRecord
from appliance.observe.maker import Maker

CODES = {status: str(status) for status in range(100, 600)}
_DURATION = tuple(0.01 * 2**n for n in range(17))  # 10 ms to 655 s
FIRST_TOKEN = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1, 2.5, 5, 7.5, 10, 15, 20, 30, 45, 60),
)
# The last two are of the OpenTelemetry GenAI conventions, with two more at the quick end: a small model on a large GPU.
_PER_TOKEN = (0.002, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5)
_TOKENS = tuple(4**n for n in range(14))  # 1 to 67 million
_OVERHEAD = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
_GAP = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_GEN_AI = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
_MOST_KEYS = 200  # with counters of their own; the ledger of usage has all of them
_OTHER_KEYS = "_other"
_LONGEST_NAMES = 128  # characters of all labels of an exemplar, as OpenMetrics has it
# Why answers end, in the words of the chat API and of Messages, and in one word each.
FINISHES = {
    "stop": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "tool_use": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
}


@dataclass(slots=True)
class _End:
    """Where an exchange that ended in one way is counted."""

    requests: Cell
    duration: Traced
    rejected: Cell | None
    finished: Cell | None
    used: "_Used | None" = None  # where its tokens are counted, once an engine has reported some


@dataclass(slots=True)
class _Used:
    """Where the tokens that engines report are counted."""

    input: Cell
    output: Cell
    cached: Cell
    reasoning: Cell
    input_size: Buckets
    output_size: Buckets


@dataclass(slots=True)
class Totals:
    """What one model has done since the start.

    Attributes:
        requests: exchanges that ended.
        failed: those of them with an error.
        input, output: tokens, reported or estimated.
        first_token: streams by the time to their first token, in the buckets of `FIRST_TOKEN`.
    """

    requests: float = 0
    failed: float = 0
    input: float = 0
    output: float = 0
    first_token: list[int] = field(default_factory=lambda: [0] * (len(FIRST_TOKEN) + 1))


@dataclass(slots=True)
class _Key:
    """Where one key is counted."""

    ok: Cell
    failed: Cell
    input: Cell
    output: Cell


@dataclass(slots=True)
class _Stages:
    """Where the seconds of streamed answers of one model are counted, and how steadily they came."""

    upload: Cell
    queue: Cell
    loading: Cell
    overhead: Cell
    first_token: Cell
    streaming: Cell
    gap: Buckets
    stalls: Cell


def provider(engine: str) -> str:
    """An engine's name as a label."""
    return engine.replace(".", "_") or "_none"


def _duration_of(record: ExchangeRecord) -> tuple[dict[str, str], float] | None:
    return _named(record, record.duration_s)


def _first_token_of(record: ExchangeRecord) -> tuple[dict[str, str], float] | None:
    return _named(record, record.ttft_s or 0.0)


def _named(record: ExchangeRecord, value: float) -> tuple[dict[str, str], float] | None:
    """By its trace and its id, under which a store of traces and the log tell the rest; as much of both as fits."""
    labels: dict[str, str] = {}
    left = _LONGEST_NAMES
    for name, its in (("trace_id", record.trace_id), ("request_id", record.request_id)):
        left -= len(name) + len(its)
        if its and left >= 0:
            labels[name] = its
    return (labels, value) if labels else None


def _unsaid(record: ExchangeRecord) -> str:
    """The reason of an answer that ended without one that we know; "" for what has none."""
    if record.finish:
        return "other"
    if record.ttft_s is None or record.outcome == "ok":
        return ""
    return "client_gone" if record.outcome == "client_gone" else "error"


class ExchangeMetrics:
    """The families, and what is told to them."""

    def __init__(self, make: Maker) -> None:
        self._ends: dict[tuple[str, str, str, int, str, str, str], _End] = {}
        self._keys: dict[str, _Key] = {}
        self._stages: dict[str, _Stages] = {}
        self._requests = make.counter(
            "appliance_requests_total", "Exchanges by model and status.", "model", "operation", "code"
        )
        self._duration = make.traceable(
            "gen_ai_server_request_duration_seconds",
            "Client-visible duration of an exchange.",
            _DURATION,
            *_GEN_AI,
            "error_type",
            named=_duration_of,
        )
        self._first_token = make.traceable(
            "gen_ai_server_time_to_first_token_seconds",
            "From the request to the first streamed content.",
            FIRST_TOKEN,
            *_GEN_AI,
            named=_first_token_of,
        )
        self._per_token = make.histogram(
            "gen_ai_server_time_per_output_token_seconds",
            "Mean time between two tokens of a streamed answer, after the first.",
            _PER_TOKEN,
            *_GEN_AI,
        )
        self._usage = make.histogram(
            "gen_ai_client_token_usage",
            "Tokens of one exchange.",
            _TOKENS,
            *_GEN_AI,
            "gen_ai_token_type",
        )
        self._stage_seconds = make.counter(
            "appliance_stage_seconds_total", "Seconds that streamed answers spent in each stage.", "model", "stage"
        )
        self._gap = make.histogram(
            "appliance_stream_longest_gap_seconds",
            "Longest pause between two pieces of a streamed answer, after its first content.",
            _GAP,
            "model",
        )
        self._stalls = make.counter(
            "appliance_stream_stalls_total",
            "Pauses of more than a second in streamed answers, after their first content.",
            "model",
        )
        self._overhead = make.histogram(
            "appliance_overhead_seconds",
            "Time that the appliance itself added to an exchange, before an engine was asked and after its answer.",
            _OVERHEAD,
        )[()]
        self._finished = make.counter(
            "appliance_finish_reasons_total", "Answers of models by why they ended.", "model", "reason"
        )
        self._tokens = make.counter("appliance_tokens_total", "Tokens as the engines reported them.", "model", "type")
        self._estimated = make.counter(
            "appliance_tokens_estimated_total", "Tokens counted by us because an exchange ended early.", "model", "type"
        )
        self._key_requests = make.counter("appliance_key_requests_total", "Exchanges by key.", "key", "outcome")
        self._key_tokens = make.counter(
            "appliance_key_tokens_total", "Tokens by key, reported or estimated.", "key", "type"
        )
        self._in_flight = make.gauge("appliance_requests_in_flight", "Exchanges under way.", "model")
        self._gone = make.counter(
            "appliance_client_disconnects_total", "Clients that left, and when.", "model", "phase"
        )
        self._rejected = make.counter(
            "appliance_rejections_total", "Errors that we answered with ourselves.", "model", "reason"
        )

    def models(self) -> list[str]:
        """The models that were ever asked for."""
        return [model for (model,) in self._in_flight]

    def totals(self) -> dict[str, Totals]:
        """The sums of each model that was ever asked for."""
        found: dict[str, Totals] = {}
        for (model, _, code), cell in self._requests.items():
            totals = found.setdefault(model, Totals())
            totals.requests += cell.value
            totals.failed += cell.value if code >= "4" else 0
        for tokens in (self._tokens, self._estimated):
            for (model, kind), cell in tokens.items():
                totals = found.setdefault(model, Totals())
                totals.input += cell.value if kind == "input" else 0
                totals.output += cell.value if kind == "output" else 0
        for (_, _, model), buckets in self._first_token.items():
            totals = found.setdefault(model, Totals())
            totals.first_token = [a + b for a, b in zip(totals.first_token, buckets.counts, strict=True)]
        return found

    def started(self, model: str) -> None:
        """An exchange for a model that exists is under way."""
        self._in_flight[model,].value += 1

    def client_disconnected(self, model: str, phase: str) -> None:
        """A client left while its exchange was in a phase."""
        self._gone[model, phase].value += 1

    def ended(self, record: ExchangeRecord, *, counted: bool) -> None:
        """An exchange is over; `counted` when `started` was called for it."""
        model = record.model
        if counted:
            self._in_flight[model,].value -= 1
        finish = FINISHES.get(record.finish) or _unsaid(record)
        # All of these are label values, so there are as many as there are series.
        kind = (model, record.operation, record.engine, record.status, record.outcome, record.error_code, finish)
        end = self._ends.get(kind) or self._end(*kind)
        end.requests.value += 1
        end.duration.observe_of(record.duration_s, record)
        if end.finished is not None:
            end.finished.value += 1
        if end.rejected is not None:
            end.rejected.value += 1
        if record.overhead_s is not None:
            self._overhead.observe(record.overhead_s)
        if record.ttft_s is not None:
            self._streamed(record, record.ttft_s, record.overhead_s or 0.0)
        usage = record.usage
        if usage.estimated:
            self._guessed(model, usage)
        elif usage.input or usage.output:
            used = end.used or self._used_by(end, record)
            used.input.value += usage.input
            used.output.value += usage.output
            used.cached.value += usage.cached
            used.reasoning.value += usage.reasoning
            used.input_size.observe(usage.input)
            used.output_size.observe(usage.output)
        if record.key:
            key = self._keys.get(record.key) or self._key(record.key)
            (key.ok if record.outcome == "ok" else key.failed).value += 1
            key.input.value += usage.input
            key.output.value += usage.output

    def _streamed(self, record: ExchangeRecord, ttft: float, overhead: float) -> None:
        labels = (record.operation, provider(record.engine), record.model)
        self._first_token[labels].observe_of(ttft, record)
        after = record.duration_s - ttft
        if record.usage.output > 1:
            self._per_token[labels].observe(after / (record.usage.output - 1))
        stages = self._stages.get(record.model) or self._stages_of(record.model)
        stages.upload.value += record.upload_s
        stages.queue.value += record.queued_s
        stages.loading.value += record.waited_s
        stages.overhead.value += overhead
        first_token = ttft - record.upload_s - record.queued_s - record.waited_s - overhead
        stages.first_token.value += first_token if first_token > 0 else 0.0
        stages.streaming.value += after
        if record.gap_s > 0:
            stages.gap.observe(record.gap_s)
            stages.stalls.value += record.stalls

    def _end(self, model: str, operation: str, engine: str, status: int, outcome: str, code: str, finish: str) -> _End:
        error_type = code or ("" if outcome == "ok" else outcome)
        labels = (operation, provider(engine), model)
        end = self._ends[model, operation, engine, status, outcome, code, finish] = _End(
            self._requests[model, operation, CODES.get(status, "other")],
            self._duration[*labels, error_type],
            self._rejected[model, code] if code else None,
            self._finished[model, finish] if finish else None,
        )
        return end

    def _used_by(self, end: _End, record: ExchangeRecord) -> _Used:
        labels, tokens = (record.operation, provider(record.engine), record.model), self._tokens
        used = end.used = _Used(
            tokens[record.model, "input"],
            tokens[record.model, "output"],
            tokens[record.model, "cached"],
            tokens[record.model, "reasoning"],
            self._usage[*labels, "input"],
            self._usage[*labels, "output"],
        )
        return used

    def _guessed(self, model: str, usage: Usage) -> None:
        tokens = self._estimated
        tokens[model, "input"].value += usage.input
        tokens[model, "output"].value += usage.output

    def _stages_of(self, model: str) -> _Stages:
        seconds = self._stage_seconds
        stages = self._stages[model] = _Stages(
            seconds[model, "upload"],
            seconds[model, "queue"],
            seconds[model, "loading"],
            seconds[model, "overhead"],
            seconds[model, "first_token"],
            seconds[model, "streaming"],
            self._gap[model,],
            self._stalls[model,],
        )
        return stages

    def _key(self, name: str) -> _Key:
        label = name if len(self._keys) < _MOST_KEYS else _OTHER_KEYS
        key = _Key(
            self._key_requests[label, "ok"],
            self._key_requests[label, "failed"],
            self._key_tokens[label, "input"],
            self._key_tokens[label, "output"],
        )
        if label == name:
            self._keys[name] = key
        return key
