"""The model processes pass from one process of ours to another while they work: exactly one plans at any time.

In the old one:

    why = await settled(supervisor)        # nothing is half-way between two states; else who is
    with frozen(supervisor):               # at once: from here on nothing is started, stopped or restarted
        handed(supervisor)                 # what runs
        supervisor.let_go()                # the other one has it; else the plan goes on after the block

In the new one, which holds each process before and does nothing until `go`:

    succession = Succession(lock, running, unloaded)
    await nursery.start(supervisor.run, succession)
    succession.go.set()                    # it looks after them, and would leave them alone if it ended
    supervisor.ours()                      # the old one has let go
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import trio

from appliance.domain.status import ReplicaState
from appliance.supervisor.handing import Handed
from appliance.supervisor.replica import Replica
from appliance.supervisor.supervisor import Supervisor

S = ReplicaState
_SETTLED = {S.STARTING, S.LOADING, S.READY, S.SLEEPING}  # of one that has a process
_COMING = {S.STOPPED, S.STARTING}  # of one that is being taken over
_PATIENCE = 10.0  # seconds


@contextmanager
def frozen(supervisor: Supervisor) -> Iterator[None]:
    """Inside, no process is started or stopped on purpose, and no order of an operator is taken."""
    supervisor.frozen = True
    try:
        yield
    finally:
        supervisor.frozen = supervisor.gone
        supervisor.poke()


async def settled(supervisor: Supervisor, patience: float = _PATIENCE) -> str:
    """Wait until nothing is half-way between two states: "", or who still is after so many seconds.

    What is half-way needs the plan to arrive, so nothing may be frozen yet.
    """
    await trio.lowlevel.checkpoint()
    with trio.move_on_after(patience):
        while _restless(supervisor):
            await supervisor.moved()
    return ", ".join(_restless(supervisor))


def _restless(supervisor: Supervisor) -> list[str]:
    coming = [f"{name} gets a new configuration" for name in supervisor.renewal.under_way]
    found = [replica for replica in supervisor.replicas.values() if _half_way(replica)]
    return coming + [f"{replica.name} is {replica.status.state}" for replica in found]


def _half_way(replica: Replica) -> bool:
    if replica.life is None:
        return replica.permit is not None
    told = replica.stopping, replica.turned, replica.condemned  # and its task has not done it yet
    return replica.status.state not in _SETTLED or any(event.is_set() for event in told)


def handed(supervisor: Supervisor) -> list[Handed]:
    """Every process, as the next owner has to know it."""
    return [
        Handed(
            name,
            replica.life.process.pid,
            ready=replica.status.state is S.READY,
            slots=replica.status.slots,
            last_start=replica.last_start or 0.0,
        )
        for name, replica in supervisor.replicas.items()
        if replica.life is not None
    ]


def unloaded(supervisor: Supervisor) -> list[str]:
    """Replicas that an operator has ended."""
    return [name for name, replica in supervisor.replicas.items() if replica.unloaded and replica.life is None]


async def taken(supervisor: Supervisor, running: Sequence[Handed], patience: float) -> None:
    """Return when what was ready is ready here as well, or after so many seconds."""
    await trio.lowlevel.checkpoint()
    ready = [one.replica for one in running if one.ready]
    with trio.move_on_after(patience):
        while any(supervisor.replicas[name].status.state in _COMING for name in ready):
            await supervisor.moved()


def busy(supervisor: Supervisor) -> dict[str, int]:
    """How many exchanges use each replica, without those that have none."""
    return {name: len(replica.leases) for name, replica in supervisor.replicas.items() if replica.leases}


def busy_elsewhere(supervisor: Supervisor, replicas: Mapping[str, int]) -> None:
    """So many exchanges of the old process use our replicas, which do not make room meanwhile."""
    for name, replica in supervisor.replicas.items():
        before, replica.elsewhere = replica.elsewhere, replicas.get(name, 0)
        if before and not replica.elsewhere:
            replica.used = trio.current_time()
            replica.write(replica.status.state)  # who waits for it to become idle looks again
    supervisor.poke()
