"""What is told: one canonical line for each exchange, one for each change of a replica."""

import logging
from typing import Any

import msgspec

from appliance.domain.calls import Usage
from appliance.domain.status import ReplicaState, ReplicaStatus

EXCHANGE_LOGGER = "appliance.exchange"
_EXCHANGES = logging.getLogger(EXCHANGE_LOGGER)
_TROUBLE = {ReplicaState.BACKOFF, ReplicaState.QUARANTINED, ReplicaState.BLOCKED}
_REPLICAS = logging.getLogger("appliance.replica")


class ExchangeRecord(msgspec.Struct, gc=False):
    """Everything that is told about one exchange; never a prompt, an answer or a key.

    Attributes:
        outcome: "ok", "error" (ours), "backend_error" or "client_gone".
        status: what the client was sent; 499 when it left before.
        ttft_s: seconds to the first content of a stream, else None.
        duration_s: seconds in all.
        bytes_out: body bytes to the client.
        queued_s: seconds of the duration in which it waited for a slot.
        trace_id: of the trace that it belongs to, 32 hex digits.
        guardrails: what guardrails found, as `name:category:action`, with commas in between; never the text itself.
        upload_s: seconds until the whole request was here.
        waited_s: seconds in which others were waited for before an engine was asked, beside those in line.
        overhead_s: seconds that the appliance itself took before an engine was asked, and after a whole answer of it;
            None where none was asked.
        finish: why the answer ended, in the engine's word; "" where it did not say.
        gap_s: longest pause between two pieces of a stream, after its first content.
        stalls: such pauses that a reader notices; see `upstream.gaps`.
    """

    request_id: str
    key: str
    model: str
    operation: str
    target: str
    engine: str
    status: int
    outcome: str
    error_code: str
    stream: bool
    usage: Usage
    ttft_s: float | None
    duration_s: float
    bytes_out: int
    peer: str
    queued_s: float = 0.0
    guardrails: str = ""
    upload_s: float = 0.0
    waited_s: float = 0.0
    overhead_s: float | None = None
    finish: str = ""
    trace_id: str = ""
    gap_s: float = 0.0
    stalls: int = 0


class ExchangeLine(msgspec.Struct, gc=False):
    """The canonical line, its fields in their order; a struct because nothing else becomes JSON as quickly."""

    time: str
    level: str
    logger: str
    event: str
    request_id: str
    key: str
    model: str
    operation: str
    target: str
    engine: str
    status: int
    outcome: str
    error_code: str
    stream: bool
    ttft_s: float | None
    duration_s: float
    bytes_out: int
    peer: str
    tokens_input: int
    tokens_output: int
    tokens_cached: int
    tokens_estimated: bool
    queued_s: float
    guardrails: str
    upload_s: float
    waited_s: float
    overhead_s: float | None
    finish: str
    trace_id: str
    gap_s: float
    stalls: int
    tokens_reasoning: int


_HEAD = ("time", "level", "logger", "event")  # of every line, whatever it tells


def exchange_line(record: ExchangeRecord, time: str) -> ExchangeLine:
    """The line, with its time as it shall be shown."""
    usage, ttft = record.usage, record.ttft_s
    return ExchangeLine(
        time,
        "info",
        EXCHANGE_LOGGER,
        "exchange",
        record.request_id,
        record.key,
        record.model,
        record.operation,
        record.target,
        record.engine,
        record.status,
        record.outcome,
        record.error_code,
        record.stream,
        None if ttft is None else round(ttft, 6),
        round(record.duration_s, 6),
        record.bytes_out,
        record.peer,
        usage.input,
        usage.output,
        usage.cached,
        usage.estimated,
        round(record.queued_s, 6),
        record.guardrails,
        round(record.upload_s, 6),
        round(record.waited_s, 6),
        None if record.overhead_s is None else round(record.overhead_s, 6),
        record.finish,
        record.trace_id,
        round(record.gap_s, 6),
        record.stalls,
        usage.reasoning,
    )


def exchange_fields(record: ExchangeRecord) -> dict[str, Any]:
    """The fields of the canonical line, in their order, without what every line begins with."""
    fields = msgspec.structs.asdict(exchange_line(record, ""))
    return {name: value for name, value in fields.items() if name not in _HEAD}


def log_exchange(record: ExchangeRecord) -> None:
    """The canonical line through `logging`; `Sink.exchange` is the quick way for a server."""
    _EXCHANGES.info("exchange", extra={"fields": exchange_fields(record)})


def log_replica(before: ReplicaStatus | None, after: ReplicaStatus) -> None:
    """One line for each change of a replica's state, with its reason; a watcher of the fleet table."""
    if before is None or before.state is after.state:
        return
    level = logging.WARNING if after.state in _TROUBLE else logging.INFO
    fields = {"replica": after.replica, "state": str(after.state), "was": str(before.state), "pid": after.pid}
    _REPLICAS.log(level, "replica", extra={"fields": fields | {"reason": after.reason, "restarts": after.restarts}})
