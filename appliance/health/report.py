"""What `/readyz` says about every public model."""

from collections.abc import Mapping, Sequence

from appliance.domain.status import BackendStatus, ReplicaState, ReplicaStatus
from appliance.domain.targets import Target
from appliance.fleet.table import Fleet

Entry = dict[str, bool | str]

# The state nearest to serving speaks for the model; rank 0 is serving.
_NEARNESS = (
    *("ready", "loading", "starting", "unknown", "sleeping", "backoff", "draining", "stopping"),
    *("stopped", "blocked", "quarantined", "unhealthy"),
)
# Where a request waits until the model has come, and gets its answer.
_COMES = {
    *(ReplicaState.STOPPED, ReplicaState.STARTING, ReplicaState.LOADING),
    *(ReplicaState.SLEEPING, ReplicaState.DRAINING, ReplicaState.STOPPING),
}


def readiness(fleet: Fleet, models: Mapping[str, Sequence[Target]]) -> dict[str, Entry]:
    """For every public model: `ready`, `available`, and the `state`, `reason` and `progress` of its best target.

    A model is ready when it answers at once. It is available as well while a request would bring it: it starts on
    demand, sleeps, or makes room for others. One that is still owed, since the start or since it failed, is not.
    The target nearest to serving speaks for the model.

    Args:
        fleet: a snapshot.
        models: targets by public name, in order of preference.
    """
    return {name: _model(fleet, targets) for name, targets in models.items()}


def ready(fleet: Fleet, models: Mapping[str, Sequence[Target]]) -> dict[str, bool]:
    """The same, without words: whether each model can be asked, so is available."""
    return {name: bool(_model(fleet, targets)["available"]) for name, targets in models.items()}


def _model(fleet: Fleet, targets: Sequence[Target]) -> Entry:
    entries = [entry for target in targets for entry in _target(fleet, target)]
    if not entries:
        return _entry("stopped", "no target of this model is known")
    nearest = min(entries, key=lambda entry: _NEARNESS.index(str(entry["state"])))
    return nearest | {"available": any(entry["available"] for entry in entries)}


def _target(fleet: Fleet, target: Target) -> list[Entry]:
    if target.kind == "backend":
        row = fleet.backends.get(target.owner)
        return [] if row is None else [_backend(row)]
    if target.kind == "provider":
        return [_entry("ready", "a provider is not probed")]
    replicas = fleet.of_runtime(target.owner)
    return [_replica(replica) for replica in replicas] or [_entry("stopped", "not started")]


def _backend(row: BackendStatus) -> Entry:
    if row.healthy is None:
        return _entry("unknown", row.reason or "not probed yet")
    return _entry("ready" if row.healthy else "unhealthy", row.reason)


def _replica(row: ReplicaStatus) -> Entry:
    if row.state is ReplicaState.READY and not row.healthy:
        return _entry("unhealthy", row.reason or "its last probe failed", row.progress)
    return _entry(row.state.value, row.reason, row.progress, comes=row.state in _COMES and not row.owed)


def _entry(state: str, reason: str = "", progress: str = "", *, comes: bool = False) -> Entry:
    ready = state == "ready"
    return {"ready": ready, "available": ready or comes, "state": state, "reason": reason, "progress": progress}
