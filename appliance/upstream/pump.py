"""Reading many streams from one task.

A token of a stream costs microseconds to read, look at and pass on, and as much again to wake the task that waits for
it. So streams that flow are not waited for one by one: one task asks the kernel which of them have something, and calls
each one's own step. The task that owns a stream sleeps meanwhile; it wakes when the stream ends, breaks, or has to wait
for its reader.
"""

import contextlib
import select
import socket
from collections.abc import Callable
from typing import Any

import outcome
import trio

from appliance.sockets.outbox import Outbox

_AT_ONCE = 64  # steps before other tasks get their turn
_TOGETHER = 8  # steps whose output leaves together: more would make the first of them wait

_Flow = tuple[trio.lowlevel.Task, Callable[[], bool]]  # who waits, and what to call


class Pump:
    """All streams that flow now. One for all connections.

    Args:
        outbox: what the steps post there leaves at the end of each round.

    Attributes:
        now: when the present round began, on trio's clock.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._epoll = select.epoll()
        self._flowing: dict[int, _Flow] = {}
        self._running = False
        self.now = 0.0

    def __len__(self) -> int:
        return len(self._flowing)

    async def run(self, sock: socket.socket, step: Callable[[], bool]) -> None:
        """Call `step` whenever a socket can be read, until it says that it is over; what it raises is raised here.

        Args:
            sock: non-blocking; nobody else may read from it meanwhile, and whoever closes it calls `stop` before.
            step: reads and returns quickly; True when it is over. A socket that has ended or broken counts as one that
                can be read, so a step that is not over then is called again and again.

        Raises:
            BusyResourceError: somebody else runs with this socket.
            ClosedResourceError: it is closed, or `stop` was called.
        """
        fd = sock.fileno()
        if fd < 0:
            raise trio.ClosedResourceError("closed before")
        try:
            self._epoll.register(fd, select.EPOLLIN)
        except FileExistsError:
            raise trio.BusyResourceError("its stream flows already") from None
        if fd in self._flowing:  # the kernel did not know it: that socket was closed without `stop`
            self._wake(fd, outcome.Error(trio.ClosedResourceError("closed meanwhile")))
            self._epoll.register(fd, select.EPOLLIN)
        self._flowing[fd] = (trio.lowlevel.current_task(), step)
        if not self._running:
            self._running = True
            trio.lowlevel.spawn_system_task(self._watch, name="pump")

        def abort(_: Any) -> trio.lowlevel.Abort:
            self._remove(fd)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def stop(self, sock: socket.socket) -> None:
        """The socket is about to be closed: whoever waits for it is told. Safe when nobody does."""
        fd = sock.fileno()
        if fd in self._flowing:
            self._wake(fd, outcome.Error(trio.ClosedResourceError("closed meanwhile")))

    def _remove(self, fd: int) -> None:
        del self._flowing[fd]
        with contextlib.suppress(OSError):  # closed without `stop`; an error here would end the program
            self._epoll.unregister(fd)

    def _wake(self, fd: int, result: outcome.Outcome[None]) -> None:
        task, _ = self._flowing[fd]
        self._remove(fd)
        trio.lowlevel.reschedule(task, result)

    def round(self) -> None:
        """Step every stream that has something. Whoever works for long may call this in between: tokens go first.

        Never from inside a step: that could give out a stream's later bytes before its earlier ones.
        """
        if not self._flowing:
            return
        self.now = trio.current_time()
        ready = self._epoll.poll(0, _AT_ONCE)
        for number, (fd, _) in enumerate(ready, 1):
            self._step(fd)
            if number % _TOGETHER == 0:
                self._outbox.flush()
        if ready:
            self._outbox.flush()

    async def _watch(self) -> None:
        """Nothing here may raise: an error in a system task ends the program."""
        try:
            while True:  # without streams it waits, and costs nothing
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                self.round()
        finally:
            self._running = False

    def _step(self, fd: int) -> None:
        found = self._flowing.get(fd)
        if found is None:  # an earlier step of this round ended it
            return
        try:
            over = found[1]()
        except Exception as error:  # noqa: BLE001 - it belongs to the stream's own task
            self._end(fd, found, outcome.Error(error))
        else:
            if over:
                self._end(fd, found, outcome.Value(None))

    def _end(self, fd: int, found: _Flow, result: outcome.Outcome[None]) -> None:
        """Wake a stream's task, unless the step itself has: by closing the socket, or by cancelling the task."""
        if self._flowing.get(fd) is found:
            self._wake(fd, result)
