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


def exchange_fields(record: ExchangeRecord) -> dict[str, Any]:
    """The fields of the canonical line, in their order."""
    usage, ttft = record.usage, record.ttft_s
    return {
        "request_id": record.request_id,
        "key": record.key,
        "model": record.model,
        "operation": record.operation,
        "target": record.target,
        "engine": record.engine,
        "status": record.status,
        "outcome": record.outcome,
        "error_code": record.error_code,
        "stream": record.stream,
        "ttft_s": None if ttft is None else round(ttft, 6),
        "duration_s": round(record.duration_s, 6),
        "bytes_out": record.bytes_out,
        "peer": record.peer,
        "tokens_input": usage.input,
        "tokens_output": usage.output,
        "tokens_cached": usage.cached,
        "tokens_estimated": usage.estimated,
    }


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
