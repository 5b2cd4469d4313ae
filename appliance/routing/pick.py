"""Which of a model's targets to try, in order, or the error that says why there is none."""

from appliance.domain.calls import Operation
from appliance.domain.engines import ENGINES
from appliance.domain.status import ReplicaState
from appliance.domain.targets import Target
from appliance.errors import GatewayError
from appliance.fleet.table import Fleet
from appliance.routing.catalogue import PublicModel

# A runtime at rest (stopped, on demand) is as good as a ready one: asking is what starts it. In these states a
# request would wait, so any other healthy target goes first.
_WAITING = {
    ReplicaState.STARTING,
    ReplicaState.LOADING,
    ReplicaState.BACKOFF,
    ReplicaState.DRAINING,
    ReplicaState.STOPPING,
    ReplicaState.QUARANTINED,
    ReplicaState.BLOCKED,
}


def candidates(model: PublicModel, operation: Operation, fleet: Fleet) -> list[Target]:
    """The targets worth trying, best first; never empty.

    Raises:
        GatewayError: `model_category_mismatch`, `unsupported` (also while the target is down: the answer would
            not change), or `no_healthy_backend`.
    """
    if model.operations is not None and operation not in model.operations:
        can = ", ".join(sorted(model.operations))
        raise GatewayError(
            "model_category_mismatch",
            f"Model {model.name!r} does not do {operation}; it does: {can}. Choose another model or route.",
            param="model",
        )
    able = [target for target in model.targets if _can(target, operation, fleet)]
    if not able:
        engines = " and ".join(sorted({target.engine for target in model.targets}))
        raise unsupported(model.name, operation, engines)
    up = [target for target in able if _not_known_bad(target, fleet)]
    if not up:
        reasons = "; ".join(f"{target.owner}: {fleet.backends[target.owner].reason}" for target in able)
        raise GatewayError(
            "no_healthy_backend",
            f"No target of model {model.name!r} is healthy ({reasons}). The server's owner has to look; try again.",
            retry_after=5,
        )
    return sorted(up, key=lambda target: _would_wait(target, fleet))  # stable: the config's order otherwise


def unsupported(model: str, operation: Operation, engine: str) -> GatewayError:
    """The engine behind a model does not offer an operation at all."""
    return GatewayError(
        "unsupported", f"The engine behind model {model!r} ({engine}) does not offer {operation}. Choose another model."
    )


def _can(target: Target, operation: Operation, fleet: Fleet) -> bool:
    if operation not in ENGINES[target.engine].operations:
        return False
    row = fleet.backends.get(target.owner) if target.kind == "backend" else None
    return row is None or operation not in row.cannot


def _not_known_bad(target: Target, fleet: Fleet) -> bool:
    row = fleet.backends.get(target.owner) if target.kind == "backend" else None
    return row is None or row.healthy is not False


def _would_wait(target: Target, fleet: Fleet) -> bool:
    if target.kind != "runtime":
        return False
    rows = fleet.of_runtime(target.owner)
    return bool(rows) and all(row.state in _WAITING or not row.healthy for row in rows)
