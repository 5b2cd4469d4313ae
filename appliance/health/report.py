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


def readiness(fleet: Fleet, models: Mapping[str, Sequence[Target]]) -> dict[str, Entry]:
    """For every public model: `ready`, and `state`, `reason` and `progress` of the target nearest to serving.

    Args:
        fleet: a snapshot.
        models: targets by public name, in order of preference.
    """
    return {name: _model(fleet, targets) for name, targets in models.items()}


def ready(fleet: Fleet, models: Mapping[str, Sequence[Target]]) -> dict[str, bool]:
    """The same, without words: whether each model can be asked."""
    return {name: bool(_model(fleet, targets)["ready"]) for name, targets in models.items()}


def _model(fleet: Fleet, targets: Sequence[Target]) -> Entry:
    entries = [entry for target in targets for entry in _target(fleet, target)]
    if not entries:
        return _entry("stopped", "no target of this model is known")
    return min(entries, key=lambda entry: _NEARNESS.index(str(entry["state"])))


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
    return _entry(row.state.value, row.reason, row.progress)


def _entry(state: str, reason: str = "", progress: str = "") -> Entry:
    return {"ready": state == "ready", "state": state, "reason": reason, "progress": progress}
