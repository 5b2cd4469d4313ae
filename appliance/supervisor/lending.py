"""The replicas as requests see them: lent to an exchange when ready, waited for in bounds when not."""

from collections.abc import Awaitable, Callable, Mapping

import trio

from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.domain.targets import Lease
from appliance.errors import GatewayError
from appliance.routing import balance
from appliance.supervisor import pauses, refusals
from appliance.supervisor.box import COMING
from appliance.supervisor.queues import Queue
from appliance.supervisor.replica import Replica

S = ReplicaState


class Lending:
    """Lends ready replicas, and keeps the queue of each runtime that has none.

    Args:
        replicas: all there are, by name; looked at, never changed.
        members: the replicas of a runtime.
        moved: returns when any replica has changed.
        asked: called when somebody begins to wait.
        load_wait: seconds that a request may wait for a model.
        load_queue: requests that may wait for one model.

    Attributes:
        queues: by runtime.
        closing: the appliance stops, and lends nothing more.
        handed: another process starts the models from now on.
        replacing: runtimes that are being stopped only to come again.
    """

    def __init__(
        self,
        replicas: Mapping[str, Replica],
        members: Callable[[str], list[Replica]],
        *,
        moved: Callable[[], Awaitable[None]],
        asked: Callable[[], None],
        load_wait: float,
        load_queue: int,
    ) -> None:
        self._replicas = replicas
        self._members = members
        self._moved = moved
        self._asked = asked
        self._load_wait = load_wait
        self._load_queue = load_queue
        self.queues: dict[str, Queue] = {}
        self.closing = False
        self.handed = False
        self.replacing: set[str] = set()

    def lend(self, runtime: str, affinity: bytes) -> Lease | None:
        """The use of a ready replica; None when there is none."""
        if self.closing:
            raise refusals.draining(self._speaker(runtime))
        replica = self._replicas.get(runtime)  # most runtimes have one replica, and it bears their name
        if replica is not None:
            return replica.lend()
        ready = {r.name: r for r in self._members(runtime) if r.status.state is S.READY}
        loads = {name: len(r.leases) for name, r in ready.items() if r.status.healthy} or {
            name: len(r.leases) for name, r in ready.items()
        }
        if not loads:
            return None
        name, how = balance.choose(affinity, loads)
        lease = ready[name].lend()
        if lease is not None:
            lease.chosen = how
        return lease

    async def seen_to_end(self, lease: Lease, within: float) -> bool:
        """Whether the process that a lease is of serves no more; see `domain.targets.Runtime.seen_to_end`."""
        with trio.move_on_after(within):
            while (replica := self._replicas.get(lease.replica)) is not None and _serves(replica, lease):
                await self._moved()
            return True
        return False

    async def wait(self, runtime: str, affinity: bytes, *, elsewhere: bool) -> Lease:
        """The use of a replica once one is ready; see `domain.targets.Runtime.ensure_ready`."""
        queue, now = self.queues[runtime], trio.current_time()
        if queue.waiting >= self._load_queue:
            raise refusals.queue_full(self._speaker(runtime), self._load_queue, self._hint(runtime))
        queue.join(now)
        self._asked()
        try:
            deadline = now + self._load_wait
            with trio.move_on_at(deadline):
                return await self._until_ready(runtime, affinity, deadline, elsewhere=elsewhere)
            raise self._too_slow(runtime)
        finally:
            queue.leave()

    async def _until_ready(self, runtime: str, affinity: bytes, deadline: float, *, elsewhere: bool) -> Lease:
        stops = {replica: replica.stops for replica in self._members(runtime)}
        while True:
            lease = self.lend(runtime, affinity)
            if lease is not None:
                return lease
            if self.handed:
                raise refusals.handed(self._speaker(runtime))
            if runtime in self.replacing:  # its stops are no reason to give up
                stops = {replica: replica.stops for replica in self._members(runtime)}
            refused = [
                self._hopeless(replica, deadline, stops.setdefault(replica, 0), elsewhere=elsewhere)
                for replica in self._members(runtime)
            ]
            if all(refused) and refused[0] is not None:
                raise refused[0]
            await self._moved()

    def _hopeless(self, replica: Replica, deadline: float, stops: int, *, elsewhere: bool) -> GatewayError | None:
        """Why this replica will not be ready in time; None when it may, and nobody else could answer meanwhile."""
        row = replica.status
        if row.state is S.QUARANTINED:
            return refusals.quarantined(row, replica.resume_at - trio.current_time())
        if row.state is S.BLOCKED and (replica.hopeless or elsewhere):
            return refusals.blocked(row, trio.current_time() - row.since)
        if row.state is S.BACKOFF and replica.resume_at > deadline:
            return refusals.crashed(row, replica.resume_at - trio.current_time())
        if replica.stops > stops:
            return refusals.stopped(row)
        return None

    def _too_slow(self, runtime: str) -> GatewayError:
        row, now = self._speaker(runtime), trio.current_time()
        if row.state is S.BLOCKED:
            return refusals.blocked(row, now - row.since)
        hint = self._hint(runtime)
        self.queues[runtime].sent_away(now, hint)
        return refusals.too_slow(row, self._load_wait, hint)

    def _speaker(self, runtime: str) -> ReplicaStatus:
        return refusals.nearest([replica.status for replica in self._members(runtime)])

    def _hint(self, runtime: str) -> float:
        row = self._speaker(runtime)
        begun = trio.current_time() - row.since if row.state in COMING else 0.0
        return pauses.retry_after(begun, self._replicas[row.replica].last_start)


def _serves(replica: Replica, lease: Lease) -> bool:
    """It is still the one that was lent, and ready, and nobody wants it to end."""
    row, ending = replica.status, replica.stopping.is_set() or replica.condemned.is_set()
    return row.state is S.READY and row.endpoint == lease.endpoint and not ending
