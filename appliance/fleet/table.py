"""Replicas and backends as last seen. One writer for each row; readers get an immutable snapshot."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from appliance.domain.calls import Operation
from appliance.domain.status import BackendStatus, ReplicaStatus


@dataclass(frozen=True, slots=True)
class Fleet:
    """A snapshot.

    Attributes:
        replicas: by replica name.
        backends: by backend name.
    """

    replicas: Mapping[str, ReplicaStatus] = field(default_factory=lambda: MappingProxyType({}))
    backends: Mapping[str, BackendStatus] = field(default_factory=lambda: MappingProxyType({}))

    def of_runtime(self, runtime: str) -> list[ReplicaStatus]:
        """The replicas of one runtime."""
        return [row for row in self.replicas.values() if row.runtime == runtime]


class FleetTable:
    """The table itself. Writers replace whole rows, so a reader never sees half a change."""

    def __init__(self) -> None:
        self._replicas: dict[str, ReplicaStatus] = {}
        self._backends: dict[str, BackendStatus] = {}
        self._watchers: list[Callable[[ReplicaStatus | None, ReplicaStatus], None]] = []
        self._backend_watchers: list[Callable[[BackendStatus], None]] = []
        self._drop_watchers: list[Callable[[str], None]] = []
        self._snapshot: Fleet | None = None  # the last one, while nothing has been written since

    def snapshot(self) -> Fleet:
        """What is known now; later writes do not change it. The same object as before when nothing was written."""
        if self._snapshot is None:
            self._snapshot = Fleet(MappingProxyType(dict(self._replicas)), MappingProxyType(dict(self._backends)))
        return self._snapshot

    def watch_replicas(self, watcher: Callable[[ReplicaStatus | None, ReplicaStatus], None]) -> None:
        """Call `watcher(before, after)` on every write of a replica's row (metrics, events). It must not raise."""
        self._watchers.append(watcher)

    def watch_backends(self, watcher: Callable[[BackendStatus], None]) -> None:
        """Call `watcher(row)` on every write of a backend's row. It must not raise."""
        self._backend_watchers.append(watcher)

    def watch_drops(self, watcher: Callable[[str], None]) -> None:
        """Call `watcher(name)` when a replica or a backend is no more. It must not raise."""
        self._drop_watchers.append(watcher)

    def set_replica(self, row: ReplicaStatus) -> None:
        """Written by the replica's owner task only."""
        before = self._replicas.get(row.replica)
        self._replicas[row.replica] = row
        self._snapshot = None
        for watcher in self._watchers:
            watcher(before, row)

    def drop_replica(self, replica: str) -> None:
        """There is no such replica any more."""
        self._replicas.pop(replica, None)
        self._snapshot = None
        for watcher in self._drop_watchers:
            watcher(replica)

    def drop_backend(self, backend: str) -> None:
        """There is no such backend any more."""
        self._backends.pop(backend, None)
        self._snapshot = None
        for watcher in self._drop_watchers:
            watcher(backend)

    def set_backend(self, row: BackendStatus) -> None:
        """Written by the prober only; what was learnt about missing operations is kept."""
        known = self._backends.get(row.name)
        self._backends[row.name] = replace(row, cannot=row.cannot | known.cannot) if known else row
        self._snapshot = None
        for watcher in self._backend_watchers:
            watcher(row)

    def learn_cannot(self, backend: str, operation: Operation) -> None:
        """A reply showed that this backend does not offer an operation."""
        row = self._backends.get(backend)
        if row is None:  # it is no more
            return
        self._backends[backend] = replace(row, cannot=row.cannot | {operation})
        self._snapshot = None
