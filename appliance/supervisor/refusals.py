"""What a request is told that waits for a model in vain. Pure."""

from collections.abc import Sequence
from math import inf

from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.errors import GatewayError
from appliance.supervisor import pauses

S = ReplicaState
_NOT_LOADING = {S.STOPPED, S.DRAINING, S.STOPPING, S.SLEEPING}
# The replica nearest to serving speaks for its runtime.
_NEARNESS = (
    S.READY,
    S.LOADING,
    S.STARTING,
    S.SLEEPING,
    S.BACKOFF,
    S.DRAINING,
    S.STOPPING,
    S.STOPPED,
    S.BLOCKED,
    S.QUARANTINED,
)


def nearest(rows: Sequence[ReplicaStatus]) -> ReplicaStatus:
    """The replica nearest to serving."""
    return min(rows, key=lambda row: _NEARNESS.index(row.state))


def draining(row: ReplicaStatus) -> GatewayError:
    """The appliance stops."""
    message = "The server is shutting down and takes no new work. Try again in a moment."
    return GatewayError("draining", message, retry_after=pauses.UNKNOWN_LOAD, extras=_extras(row))


def handed(row: ReplicaStatus) -> GatewayError:
    """Another process of ours serves from now on, and the request is here."""
    message = "The server has just been replaced by another version, which goes on. Send the request again."
    return GatewayError("draining", message, retry_after=1, extras=_extras(row))


def ended(row: ReplicaStatus, reason: str) -> GatewayError:
    """The end of an answer that its model's process could not finish."""
    why = f" ({reason})" if reason else ""
    message = (
        f'The process of the model "{row.runtime}" is being stopped{why} and could not wait for the end of this '
        "answer. Nothing is wrong with the request; send it again in a moment."
    )
    return GatewayError("draining", message, retry_after=5, extras=_extras(row))


def queue_full(row: ReplicaStatus, size: int, hint: float) -> GatewayError:
    """Too many wait already."""
    message = (
        f'The model "{row.runtime}" is not ready yet and {size} requests already wait for it. '
        "The server is at its limit (load_queue); try again later."
    )
    return GatewayError("queue_full", message, retry_after=hint, extras=_extras(row))


def crashed(row: ReplicaStatus, wait: float) -> GatewayError:
    """It ended by itself and its next start is `wait` seconds away."""
    message = (
        f'The process of the model "{row.runtime}" ended by itself: {row.reason}. The appliance starts it again in '
        f"{wait:.0f} s; if this repeats, the operator has to act."
    )
    return GatewayError("model_crashed", message, retry_after=max(1.0, wait), extras=_extras(row))


def quarantined(row: ReplicaStatus, wait: float) -> GatewayError:
    """It is not started again until something changes, or for `wait` seconds."""
    until = (
        "until its operator acts" if wait == inf else f"before its operator acts, or {wait / 60:.0f} min have passed"
    )
    message = (
        f'The model "{row.runtime}" is out of service: {row.reason}. It is not started again {until}. {row.advice}'
    )
    return GatewayError("model_quarantined", message.rstrip(), retry_after=60, extras=_extras(row))


def blocked(row: ReplicaStatus, for_seconds: float) -> GatewayError:
    """Others hold the memory that it needs, and have done so for some time. Nobody knows for how long they will: what
    has lasted for long lasts on, so the hint grows with it.
    """
    message = f'The model "{row.runtime}" cannot be loaded now: {row.reason}. It starts as soon as there is room.'
    return GatewayError("model_blocked", message, retry_after=min(60.0, max(5.0, for_seconds)), extras=_extras(row))


def stopped(row: ReplicaStatus) -> GatewayError:
    """An order stopped it while this request waited."""
    message = f'The model "{row.runtime}" was stopped while this request waited for it. Send it again.'
    return GatewayError("model_loading", message, retry_after=1, extras=_extras(row))


def too_slow(row: ReplicaStatus, waited: float, hint: float) -> GatewayError:
    """It loads for longer than a request may wait."""
    what = f"did not finish loading within {waited:g} s"
    if row.state in _NOT_LOADING and row.reason:
        what = f"{row.reason}, for longer than {waited:g} s"
    message = f'The model "{row.runtime}" {what}. Nothing is wrong with the request; send it again in a moment.'
    return GatewayError("model_loading", message, retry_after=hint, extras=_extras(row))


def _extras(row: ReplicaStatus) -> dict[str, str]:
    facts = {"state": str(row.state), "reason": row.reason, "progress": row.progress}
    if row.stage:
        facts["stage"] = row.stage
    if row.percent is not None:
        facts["percent"] = f"{row.percent:.0f}"
    return facts
