"""Deadlines of many waits: each costs a number in a table, where a cancel scope costs as much as the wait itself."""

import math
from collections.abc import Awaitable, Callable

import trio

from appliance.sockets.readiness import Reader


class Alarm:
    """Ends waits for sockets at their deadlines.

    A task of trio's system looks at all of them when the nearest deadline passes, which is seldom: waits usually end
    early, and then the next look is a whole deadline away. It ends itself when nobody waits at such a look.
    """

    def __init__(self) -> None:
        self._readers: set[Reader] = set()  # all that wait with a deadline, and some that have ceased to
        self._look = math.inf  # when the watchman looks; infinite while there is none
        self._nearer = trio.Event()  # tells the watchman that `_look` is earlier now

    @property
    def waiting(self) -> int:
        """Waits under way that have a deadline."""
        return sum(reader.deadline < math.inf for reader in self._readers)

    def wait(self, reader: Reader, deadline: float) -> Awaitable[None]:
        """Wait until a socket can be read from; to be awaited at once.

        Args:
            reader: of the socket; only one task at a time may wait for it.
            deadline: on trio's clock; infinite for none.

        Raises:
            ClosedResourceError: it was closed.
            TooSlowError: the deadline passed.
        """
        waiting = reader.wait(deadline)
        if deadline < math.inf:
            self._note(reader, deadline)
        return waiting

    async def run(self, reader: Reader, step: Callable[[], bool], deadline: float) -> None:
        """As `Reader.run`, up to a deadline that steps do not move.

        Raises:
            ClosedResourceError: the socket was closed.
            TooSlowError: the deadline passed. What has come is not lost.
        """
        if deadline < math.inf:
            self._note(reader, deadline)
        await reader.run(step, deadline)

    def forget(self, reader: Reader) -> None:
        """Nobody will wait for this one again."""
        self._readers.discard(reader)

    def _note(self, reader: Reader, deadline: float) -> None:
        self._readers.add(reader)
        if deadline < self._look:
            self._look_at(deadline)

    def _look_at(self, deadline: float) -> None:
        asleep, self._look = self._look < math.inf, deadline
        if asleep:
            self._nearer.set()
        else:
            trio.lowlevel.spawn_system_task(self._watch)

    async def _watch(self) -> None:
        """Nothing here may raise: an error in a system task ends the program."""
        while self._look < math.inf:
            with trio.CancelScope(deadline=self._look):
                await self._nearer.wait()
            self._nearer = trio.Event()
            now = trio.current_time()
            for reader in self._readers:
                if reader.deadline <= now:
                    reader.interrupt(trio.TooSlowError())
            self._readers = {reader for reader in self._readers if reader.deadline < math.inf}
            self._look = min((reader.deadline for reader in self._readers), default=math.inf)
