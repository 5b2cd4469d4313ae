"""What a change means as an event, or that it means none. They only compare; the journal is told through `Tell`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from appliance.domain.events import Fact
from appliance.domain.gpus import Gpu
from appliance.domain.status import BackendStatus, ReplicaState, ReplicaStatus


class Tell(Protocol):
    """`Journal.tell`."""

    def __call__(self, kind: str, subject: str, words: str, **facts: Fact) -> object:
        """Something has happened."""
        ...


class Fleet:
    """Watches the fleet's table."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._healthy: dict[str, bool] = {}  # backends, once they were probed
        self._replicas: set[str] = set()

    def replica_changed(self, before: ReplicaStatus | None, after: ReplicaStatus) -> None:
        """A replica's row was written; a watcher of the fleet table."""
        self._replicas.add(after.replica)
        facts: dict[str, Fact] = {"runtime": after.runtime, "pid": after.pid}
        if before is not None and after.restarts > before.restarts:
            words = _sentences(after.reason or "its process ended", after.advice)
            self._tell("replica.crashed", after.replica, words, cause=after.cause, restarts=after.restarts, **facts)
        if before is None or before.state is after.state:
            return
        words = ": ".join(part for part in (f"{before.state} \u2192 {after.state}", _sentences(_why(after))) if part)
        words = words if words.endswith(".") else f"{words}."
        if after.state is ReplicaState.READY and after.adopted:
            facts["adopted"] = True
        self._tell("replica.state", after.replica, words, state=str(after.state), was=str(before.state), **facts)

    def backend_seen(self, row: BackendStatus) -> None:
        """A backend's row was written; a watcher of the fleet table."""
        if row.healthy is None or self._healthy.get(row.name) == row.healthy:
            return
        self._healthy[row.name] = row.healthy
        if row.healthy:
            self._tell("backend.up", row.name, f"{row.name} answers, with {len(row.models)} models.", engine=row.engine)
        else:
            words = _sentences(f"{row.name} is left out", row.reason)
            self._tell("backend.down", row.name, words, engine=row.engine)

    def dropped(self, name: str) -> None:
        """A replica or a backend is no more; a watcher of the fleet table."""
        if name in self._replicas:
            self._replicas.discard(name)
            self._tell("replica.removed", name, "It is not in the configuration any more.")
        else:
            self._healthy.pop(name, None)
            self._tell("backend.removed", name, "It is not in the configuration any more.")


class Gpus:
    """Watches the GPUs."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._faults: dict[int, str] = {}

    def seen(self, gpus: Sequence[Gpu]) -> None:
        """They were looked at."""
        for gpu in gpus:
            before = self._faults.get(gpu.index, "")
            if gpu.fault == before:
                continue
            self._faults[gpu.index] = gpu.fault
            subject, facts = f"GPU {gpu.index}", {"uuid": gpu.uuid, "name": gpu.name}
            if gpu.fault:
                self._tell("gpu.fault", subject, _sentences(gpu.fault), **facts)
            else:
                self._tell("gpu.recovered", subject, "It may be used again.", **facts)


Stored = Mapping[str, tuple[object, bool]]  # by name: everything about a key, and whether it was revoked


def key_changes(before: Stored, after: Stored) -> Iterator[tuple[str, str, str]]:
    """What happened to the stored keys, each as kind, subject and words."""
    for name in before.keys() - after.keys():
        yield "key.removed", name, "It is not among the stored keys any more."
    for name, (facts, revoked) in after.items():
        if name not in before:
            yield "key.created", name, "It was made."
        elif before[name][0] != facts:
            if revoked and not before[name][1]:
                yield "key.revoked", name, "It opens nothing any more."
            else:
                yield "key.changed", name, "It has another text or other settings."


def _why(row: ReplicaStatus) -> str:
    """What is worth saying of a new state; a crash has said its part already."""
    return "" if row.state in (ReplicaState.READY, ReplicaState.LOADING) else _sentences(row.reason, row.advice)


def _sentences(*parts: str) -> str:
    told = [part.rstrip(".") for part in parts if part]
    return ". ".join(told) + "." if told else ""
