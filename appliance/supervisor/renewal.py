"""A new configuration put into effect while replicas run: what did not change is not touched, and what has to end first
goes on in the background.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import trio

from appliance.config.schema import Runtime
from appliance.domain.status import ReplicaState
from appliance.supervisor.changes import changes
from appliance.supervisor.replica import Replica

_LOG = logging.getLogger("appliance.supervisor")


class Box(Protocol):
    """The supervisor, as far as its runtimes come and go.

    Attributes:
        runtimes: in effect.
        replicas: of them, by name.
    """

    runtimes: dict[str, Runtime]
    replicas: dict[str, Replica]

    def members(self, name: str) -> list[Replica]:
        """The replicas of a runtime."""
        ...

    def admit(self, runtime: Runtime) -> None:
        """Begin to look after a runtime."""
        ...

    def dismiss(self, replica: str) -> None:
        """There is no such replica any more."""
        ...

    def in_background(self, work: Callable[[str], Awaitable[None]], name: str) -> None:
        """Do something for as long as the supervisor runs."""
        ...

    def stir(self) -> None:
        """Whoever waits for a change looks again."""
        ...


class Renewal:
    """Puts configurations into effect.

    Args:
        box: whose runtimes.
        replacing: runtimes that are being stopped only to come again; those who wait for them go on waiting.
        drain: seconds that exchanges may go on when their replica has to end.
    """

    def __init__(self, box: Box, replacing: set[str], drain: float) -> None:
        self._box = box
        self._replacing = replacing
        self._drain = drain
        self._coming: dict[str, Runtime | None] = {}  # what follows those that are on their way out

    def apply(self, runtimes: Sequence[Runtime]) -> None:
        """Make these the runtimes; see `orders.Operator`."""
        box = self._box
        wanted = {runtime.name: runtime for runtime in runtimes}
        for change in changes(list(box.runtimes.values()), runtimes):
            name = change.runtime
            if name in self._coming:  # it is on its way out already: what comes then is another
                self._coming[name] = wanted.get(name)
                continue
            match change.action:
                case "add":
                    box.admit(wanted[name])
                case "update":
                    box.runtimes[name] = wanted[name]
                    for replica in box.members(name):
                        _update(replica, wanted[name])
                case "remove" | "restart":
                    self._replacing.add(name)
                    for replica in box.members(name):
                        replica.begin_drain(self._drain)  # from now on requests wait for the new one
                    self._coming[name] = wanted.get(name)
                    box.in_background(self._exchange, name)
                case _:
                    pass
        box.stir()

    @contextmanager
    def replacing(self, name: str) -> Iterator[None]:
        """Whoever waits for a runtime, or one replica of it, goes on waiting although it is told to stop."""
        runtimes = {replica.runtime.name for replica in self._box.members(name)}
        self._replacing |= runtimes
        try:
            yield
        finally:
            self._replacing -= runtimes

    @property
    def under_way(self) -> list[str]:
        """Runtimes that are on their way out."""
        return list(self._coming)

    async def _exchange(self, name: str) -> None:
        """End the replicas of a runtime in good order, and begin those of what is by then its configuration."""
        box, old = self._box, self._box.members(name)
        async with trio.open_nursery() as nursery:
            for replica in old:
                nursery.start_soon(self._retire, replica)
        for replica in old:
            box.dismiss(replica.name)
        box.runtimes.pop(name)
        if (runtime := self._coming.pop(name)) is not None:
            box.admit(runtime)
        self._replacing.discard(name)
        box.stir()

    async def _retire(self, replica: Replica) -> None:
        with trio.move_on_after(self._drain):
            while replica.leases or replica.elsewhere:
                await replica.changed()
        while not await replica.stop():
            _LOG.error("%s does not end; its new configuration waits for that", replica.name)
        replica.retire()


def _update(replica: Replica, runtime: Runtime) -> None:
    """Settings that need no new process: what is in quarantine has another chance with them, as with any others."""
    comes = runtime.start == "boot" and replica.runtime.start != "boot"
    replica.runtime = runtime
    if comes or replica.status.state is ReplicaState.QUARANTINED:
        replica.want()
