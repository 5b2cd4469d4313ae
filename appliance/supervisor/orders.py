"""The supervisor as its operator sees it: `domain.orders.Orders`."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import trio

from appliance.config.schema import Runtime
from appliance.domain.orders import Change, Explanation, LogReader, Outcome
from appliance.domain.status import ReplicaState
from appliance.errors import GatewayError
from appliance.supervisor import refusals
from appliance.supervisor.changes import changes
from appliance.supervisor.explain import explain, log_path
from appliance.supervisor.fit import with_fit
from appliance.supervisor.following import Follower
from appliance.supervisor.replica import Replica
from appliance.supervisor.supervisor import Supervisor
from appliance.supervisor.tail import Tail

S = ReplicaState
_HOPELESS = {S.QUARANTINED, S.BLOCKED}
_ORDERED = "an operator has ended it; a request or an order starts it again"


class Operator:
    """Carries out orders.

    Args:
        supervisor: whose replicas.
        state_dir: of the appliance.
        patience: seconds that `load` waits for a model.
        drain: seconds that `unload` waits for exchanges to end.
    """

    def __init__(self, supervisor: Supervisor, *, state_dir: Path, patience: float, drain: float) -> None:
        self._supervisor = supervisor
        self._state_dir = state_dir
        self._patience = patience
        self._drain = drain

    async def load(self, name: str) -> Outcome:
        """See `Orders`."""
        replicas = self._members(name)
        if all(replica.status.state is S.READY for replica in replicas):
            return self._outcome(replicas, ok=True, changed=False)
        for replica in replicas:
            replica.want()
        before = {replica.name: replica.failures.times for replica in replicas}
        self._supervisor.poke()
        with trio.move_on_after(self._patience):
            while not all(_decided(replica, before[replica.name]) for replica in replicas):
                await self._supervisor.moved()
        ready = all(replica.status.state is S.READY for replica in replicas)
        return self._outcome(replicas, ok=ready, changed=True, detail=self._why(replicas))

    async def unload(self, name: str, *, force: bool = False) -> Outcome:
        """See `Orders`."""
        replicas = self._members(name)
        if all(replica.life is None and replica.status.state is S.STOPPED for replica in replicas):
            for replica in replicas:
                replica.unwant()
            return self._outcome(replicas, ok=True, changed=False)
        for replica in replicas:
            replica.begin_drain(self._drain, _ORDERED)
        if not force:
            with trio.move_on_after(self._drain):
                while any(replica.leases or replica.elsewhere for replica in replicas):
                    await self._supervisor.moved()
        async with trio.open_nursery() as nursery:
            for replica in replicas:
                nursery.start_soon(replica.stop, _ORDERED)
        gone = all(replica.life is None for replica in replicas)
        return self._outcome(replicas, ok=gone, changed=True, detail="" if gone else self._why(replicas))

    async def restart(self, name: str) -> Outcome:
        """See `Orders`."""
        self._members(name)
        with self._supervisor.renewal.replacing(name):
            ended = await self.unload(name)
        return await self.load(name) if ended.ok else ended

    async def drain(self, name: str) -> Outcome:
        """See `Orders`."""
        await trio.lowlevel.checkpoint()
        replicas = self._members(name)
        active = [replica for replica in replicas if replica.life is not None]
        changed = any(replica.status.state is not S.DRAINING for replica in active)
        for replica in replicas:
            replica.unwant()
        for replica in active:
            if replica.status.state in (S.READY, S.DRAINING):
                replica.begin_drain(self._drain, _ORDERED)
            else:
                replica.begin_stop(_ORDERED)
        busy = sum(len(replica.leases) + replica.elsewhere for replica in replicas)
        return self._outcome(replicas, ok=True, changed=changed, detail=f"{busy} requests under way" if busy else "")

    def log_file(self, replica: str) -> Path:
        """See `Orders`."""
        (one,) = self._supervisor.members(replica)[:1]
        return log_path(self._state_dir, one.name)

    def log_lines(self, replica: str, last: int) -> list[str]:
        """See `Orders`."""
        lines = self.tail(replica).lines()
        return lines[-last:] if last > 0 else []

    def tail(self, replica: str) -> Tail:
        """The tail of a replica's log as it is now; that of its last process while it has none."""
        (one,) = self._supervisor.members(replica)[:1]
        return one.tail or Tail(self.log_file(replica))

    def follow(self, name: str, last: int) -> LogReader:
        """See `Orders`."""
        return Follower(partial(self._supervisor.members, name), last)

    def explain(self, name: str) -> Explanation:
        """See `Orders`."""
        (one,) = self._supervisor.members(name)[:1]
        return explain(one.runtime, self._state_dir)

    def preview(self, runtimes: Sequence[Runtime]) -> list[Change]:
        """See `Orders`."""
        found = changes(list(self._supervisor.runtimes.values()), runtimes)
        gpus = self._supervisor.gpus()
        if gpus is None:
            return found
        return with_fit(found, self._supervisor.wishes(runtimes), self._supervisor.views(), gpus)

    async def apply(self, runtimes: Sequence[Runtime]) -> None:
        """See `Orders`."""
        await trio.lowlevel.checkpoint()
        self._supervisor.apply(runtimes)

    def _members(self, name: str) -> list[Replica]:
        """The replicas that an order is about.

        Raises:
            GatewayError: `model_not_found`, or `draining`: it is not ours to carry out.
        """
        if self._supervisor.frozen:
            message = "The appliance is being upgraded, and nobody starts or stops a model meanwhile. Try again."
            raise GatewayError("draining", message, retry_after=5)
        return self._supervisor.members(name)

    def _why(self, replicas: Sequence[Replica]) -> str:
        row = refusals.nearest([replica.status for replica in replicas])
        return ". ".join(part for part in (row.reason.rstrip("."), row.advice) if part)

    def _outcome(self, replicas: Sequence[Replica], *, ok: bool, changed: bool, detail: str = "") -> Outcome:
        row = refusals.nearest([replica.status for replica in replicas])
        return Outcome(ok=ok, changed=changed, state=str(row.state), detail=detail)


def _decided(replica: Replica, failures: tuple[float, ...]) -> bool:
    """It is ready, or will not be so soon."""
    if replica.status.state is S.READY or replica.status.state in _HOPELESS:
        return True
    return replica.life is None and replica.failures.times != failures
