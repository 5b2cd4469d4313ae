"""Deadlines of many waits: each costs an entry in a table, where a cancel scope costs as much as the wait itself."""

import math

import trio

from appliance.sockets.readiness import Reader


class Alarm:
    """Ends waits for sockets at their deadlines.

    A task of trio's system looks at the table when the nearest deadline passes, which is seldom: waits usually end
    early, and then the next look is a whole deadline away. It ends itself when nobody waits at such a look.
    """

    def __init__(self) -> None:
        self._waits: dict[Reader, float] = {}  # deadlines
        self._look = math.inf  # when the watchman looks; infinite while there is none
        self._nearer = trio.Event()  # tells the watchman that `_look` is earlier now

    @property
    def waiting(self) -> int:
        """Waits under way that have a deadline."""
        return len(self._waits)

    async def wait(self, reader: Reader, deadline: float) -> None:
        """Wait until a socket can be read from.

        Args:
            reader: of the socket; only one task at a time may wait for it.
            deadline: on trio's clock; infinite for none.

        Raises:
            ClosedResourceError: it was closed.
            TooSlowError: the deadline passed.
        """
        if deadline == math.inf:
            await reader.wait()
            return
        self._waits[reader] = deadline
        if deadline < self._look:
            self._look_at(deadline)
        try:
            await reader.wait()
        finally:
            self._waits.pop(reader, None)

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
            for reader in [reader for reader, deadline in self._waits.items() if deadline <= now]:
                del self._waits[reader]
                reader.interrupt(trio.TooSlowError())
            self._look = min(self._waits.values(), default=math.inf)
