"""Deadlines of many waits: each costs an entry in a table, where a cancel scope costs as much as the wait itself."""

import math
import socket

import trio


class Alarm:
    """Ends waits for sockets at their deadlines.

    A task of trio's system looks at the table when the nearest deadline passes, which is seldom: waits usually end
    early, and then the next look is a whole deadline away. It ends itself when nobody waits at such a look.
    """

    def __init__(self) -> None:
        self._waits: dict[socket.socket, float] = {}  # deadlines
        self._look = math.inf  # when the watchman looks; infinite while there is none
        self._nearer = trio.Event()  # tells the watchman that `_look` is earlier now

    @property
    def waiting(self) -> int:
        """Waits under way that have a deadline."""
        return len(self._waits)

    async def wait_readable(self, sock: socket.socket, deadline: float) -> None:
        """Wait until a socket can be read from.

        Args:
            sock: only one task at a time may read from it.
            deadline: on trio's clock; infinite for none.

        Raises:
            ClosedResourceError: it is closed, or was closed meanwhile after `notify_closing`.
            TooSlowError: the deadline passed.
        """
        fd = sock.fileno()
        if fd < 0:
            raise trio.ClosedResourceError("closed before")
        if deadline == math.inf:
            await trio.lowlevel.wait_readable(fd)
            return
        self._waits[sock] = deadline
        if deadline < self._look:
            self._look_at(deadline)
        try:
            await trio.lowlevel.wait_readable(fd)
        except trio.ClosedResourceError:
            if sock in self._waits:
                raise
            raise trio.TooSlowError from None
        finally:
            self._waits.pop(sock, None)

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
            for sock in [sock for sock, deadline in self._waits.items() if deadline <= now]:
                del self._waits[sock]
                trio.lowlevel.notify_closing(sock)  # wakes whoever waits; the socket itself stays open
            self._look = min(self._waits.values(), default=math.inf)
