"""Which sockets can be read, asked for all of them at once.

Trio's own wait tells the kernel anew before each read what is waited for, and looks after every wait as if it were the
first: that costs more than the read. Here a socket is registered once, and the kernel reports when something *comes*
(edge-triggered), not whether something is there. What is known of a socket is therefore remembered (see `Reader`).

A token of a stream costs microseconds to read, look at and pass on, and as much again to wake the task that waits for
it. So whoever has a stream that flows leaves a step here, which is called when something comes. The task that owns the
stream sleeps meanwhile; it wakes when the stream ends, breaks, or has to wait for its reader.

Tasks are woken at once while no stream flows, else in turns.

To go round Trio's loop costs as much again as a token. So while tokens come one upon another, the next one is waited
for right where Trio would begin to wait (see `Readiness.before_io_wait`).
"""

import contextlib
import math
import os
import select
import socket
import time
from collections.abc import Awaitable, Callable
from typing import NoReturn, cast

import outcome
import trio

from appliance.sockets.outbox import Outbox
from appliance.sockets.turns import Turns

_COMES = select.EPOLLIN | select.EPOLLPRI | select.EPOLLRDHUP | select.EPOLLET
# With these a short read does not mean that nothing is left: an end or an error follows, or bytes behind urgent ones.
_FOLLOWED = select.EPOLLPRI | select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_AT_ONCE = 64  # events before other tasks get their turn
_TOGETHER = 8  # steps whose output leaves together: more would make the first of them wait
_LINGER = 0.001  # seconds that Trio's own waits, for timers and new connections, may begin later for the sake of tokens


class _Nothing:
    """`outcome.Value(None)`, except that it can be unwrapped again and again: one serves every wake-up."""

    def unwrap(self) -> None:
        """What the wait returns."""


_NOTHING = cast("outcome.Outcome[None]", _Nothing())


class Readiness(trio.abc.Instrument):
    """All sockets that are read. One for the whole process, as one file descriptor for Trio.

    Attributes:
        outbox: what the steps post there leaves at the end of each round.
        now: when the present round began, on trio's clock.
        flowing: streams that have a step here.
    """

    def __init__(self, outbox: Outbox | None = None) -> None:
        self.outbox = outbox or Outbox()
        self.now = 0.0
        self.flowing = 0
        self._epoll = select.epoll()
        self._readers: dict[int, Reader] = {}
        self._turns = Turns()
        self._running = False
        self._brisk = False  # tokens have come one upon another: the next one may be near
        self._woke = False  # a task was woken since somebody looked
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)  # makes Trio look at everything anew
        self._epoll.register(self._bell, select.EPOLLIN | select.EPOLLET)

    def add(self, fd: int, reader: "Reader") -> None:
        """For `Reader`: report what comes; what is there already counts as coming.

        Raises:
            BusyResourceError: the socket has a reader.
        """
        try:
            self._epoll.register(fd, _COMES)
        except FileExistsError:
            raise trio.BusyResourceError("the socket has a reader") from None
        if fd in self._readers:  # the kernel did not know it: that socket was closed without a word
            self._readers[fd].close()
            self._epoll.register(fd, _COMES)
        self._readers[fd] = reader
        if not self._running:
            self._running = True
            trio.lowlevel.spawn_system_task(self._watch, name="readiness")

    def again(self, fd: int) -> None:
        """For `Reader`: report once more, since something is left."""
        with contextlib.suppress(OSError):  # closed without a word; an error here could end the program
            self._epoll.modify(fd, _COMES)

    def remove(self, fd: int, reader: "Reader") -> None:
        """For `Reader`: it goes away."""
        if self._readers.get(fd) is reader:
            del self._readers[fd]
            with contextlib.suppress(OSError):  # closed without a word
                self._epoll.unregister(fd)

    def woken(self, reader: "Reader") -> None:
        """For `Reader`: its task is to run, now or in one of the next turns."""
        self._woke = True
        if self.flowing:
            self._turns.queue(reader)
        else:
            reader.wake()

    def relay(self) -> None:
        """Step every stream that has something. Whoever works for long may call this in between: tokens go first.

        Never from inside a step: that could give out a stream's later bytes before its earlier ones.
        """
        if self.flowing:
            self._round()

    def before_io_wait(self, timeout: float) -> None:
        """Trio has nothing to do for `timeout` seconds: pass on the tokens that come meanwhile.

        Only for a moment, as Trio's own sockets and timers are not seen from here; and only while tokens come. What the
        steps here leave to tasks, and a time that is over by now, Trio would sleep through, did the bell not wake it.
        """
        if not (self._brisk and self.flowing) or timeout <= 0:
            return
        self._woke = worked = False
        wait, end = min(timeout, _LINGER), time.perf_counter() + _LINGER
        while self._round(wait):
            worked = True
            if self._woke or time.perf_counter() > end:
                break
        else:
            self._brisk = False
        if worked or self._woke:
            os.eventfd_write(self._bell, 1)  # never read: each write counts as something new

    def _round(self, wait: float = 0) -> bool:
        """Pass on what has come, or comes within `wait` seconds, to tasks and to steps; whether there was a step."""
        steps = 0
        self.outbox.gathering = True
        events = self._epoll.poll(wait, _AT_ONCE)
        if self.flowing:
            self.now = trio.current_time()
        for fd, flags in events:  # the bell's has no reader
            reader = self._readers.get(fd)  # none: it was closed earlier in this round
            if reader is None or not reader.resume(flags):
                continue
            steps += 1
            if steps % _TOGETHER == 0:
                self.outbox.flush()
        self.outbox.gathering = False
        if steps:
            self.outbox.flush()
            self._brisk = True
        return steps > 0

    async def _watch(self) -> None:
        """Nothing here may raise: an error in a system task ends the program."""
        fd = self._epoll.fileno()
        trio.lowlevel.add_instrument(self)
        try:
            while True:  # while nothing comes it waits, and costs nothing
                await trio.lowlevel.wait_readable(fd)
                self._round()
        finally:
            self._running = False
            trio.lowlevel.remove_instrument(self)


class Reader:
    """The receiving side of one socket. One task at a time waits here, or has a step that is called.

    The kernel says only once that something has come. So what a read leaves behind is remembered: a read that fills its
    buffer has left something; a shorter one has emptied the socket, unless an end or an error follows.

    Attributes:
        deadline: until when whoever waits here wants to, on trio's clock; infinite while nobody does or for ever. It is
            only noted: who made a wait with one has to `interrupt` it.
        urgent: answers come here, not requests: whoever waits is woken before those who do for requests.
    """

    __slots__ = ("_fd", "_followed", "_readiness", "_ready", "_sock", "_step", "_task", "_woken", "deadline", "urgent")

    def __init__(self, sock: socket.socket, readiness: Readiness, *, urgent: bool = False) -> None:
        """Begin to look at a socket.

        Args:
            sock: connected and non-blocking; stays the caller's, who calls `close` before closing it. Nobody else may
                read from it.
            readiness: where it is looked at.
            urgent: see the attribute.

        Raises:
            BusyResourceError: it has a reader.
        """
        self._sock = sock
        self._readiness = readiness
        self._fd = sock.fileno()
        self._task: trio.lowlevel.Task | None = None  # who waits
        self._step: Callable[[], bool] | None = None  # what is called instead of waking it
        self._ready = False  # something may be there that the kernel does not report again
        self._followed = False  # a short read does not mean that nothing is left
        self._woken = False  # who waits is about to be woken
        self.deadline = math.inf
        self.urgent = urgent
        if self._fd >= 0:
            readiness.add(self._fd, self)

    def wait(self, deadline: float = math.inf) -> Awaitable[None]:
        """Wait until something can be read; sometimes there is nothing in the end. Other tasks get their turn.

        To be awaited at once, by the task that calls it: it is no coroutine of its own, since each one on the way costs
        again when the wait ends.

        Args:
            deadline: see the attribute.

        Raises:
            BusyResourceError: somebody else waits.
            ClosedResourceError: `close` was called.
        """
        if self._task is not None or self._fd < 0:
            self._refuse()
        if self._ready:
            return trio.lowlevel.checkpoint()  # noqa: ASYNC105 - awaited by the caller
        self._task = trio.lowlevel.current_task()
        self.deadline = deadline
        return trio.lowlevel.wait_task_rescheduled(self._abort)  # noqa: ASYNC105 - as above

    def read(self, most: int) -> bytes:
        """Read what is there; b"" at the end.

        Raises:
            BlockingIOError: nothing is there.
            OSError: the connection is broken.
        """
        try:
            data = self._sock.recv(most)
        except BlockingIOError:
            self._ready = self._followed = False
            raise
        self._ready = not 0 < len(data) < most or self._followed
        return data

    def read_into(self, buffer: memoryview) -> int:
        """As `read`, into a buffer: the number of bytes; 0 at the end.

        Raises:
            BlockingIOError: nothing is there.
            OSError: the connection is broken.
        """
        try:
            size = self._sock.recv_into(buffer)
        except BlockingIOError:
            self._ready = self._followed = False
            raise
        self._ready = not 0 < size < len(buffer) or self._followed
        return size

    async def run(self, step: Callable[[], bool], deadline: float = math.inf) -> None:
        """Call `step` whenever something can be read, until it says that it is over; what it raises is raised here.

        Args:
            step: calls `read` or `read_into` once, and returns quickly; True when it is over. A socket that has ended
                or broken can always be read, so a step that is not over then is called again and again.
            deadline: see the attribute.

        Raises:
            BusyResourceError: somebody else waits.
            ClosedResourceError: `close` was called.
        """
        if self._task is not None or self._fd < 0:
            self._refuse()
        self._task, self._step, self.deadline = trio.lowlevel.current_task(), step, deadline
        self._readiness.flowing += 1
        if self._ready:
            self._readiness.again(self._fd)
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def resume(self, flags: int) -> bool:
        """For `Readiness`: something has come. Whether a step was called."""
        self._ready = True
        if flags & _FOLLOWED:
            self._followed = True
        task, step = self._task, self._step
        if task is None:
            return False
        if step is None:
            if not self._woken:
                self._woken = True
                self.deadline = math.inf  # met, whenever it is the task's turn
                self._readiness.woken(self)
            return False
        try:
            over = step()
        except Exception as error:  # noqa: BLE001 - it belongs to the stream's own task
            self._end(task, outcome.Error(error))
        else:
            if over and self._task is task:
                self._step = None
                self._readiness.flowing -= 1
                self._woken = True
                self._readiness.woken(self)
            elif self._ready and self._task is task:
                self._readiness.again(self._fd)
        return True

    @property
    def parked(self) -> bool:
        """A task waits here, and will read nothing before it is woken."""
        return self._task is not None

    def wake(self) -> bool:
        """For `Turns`: whether the task still waited."""
        task, woken = self._task, self._woken
        self._woken = False
        if task is None or not woken:
            return False
        self._task = None
        self.deadline = math.inf
        trio.lowlevel.reschedule(task, _NOTHING)
        return True

    def interrupt(self, error: Exception) -> None:
        """Wake whoever waits with an error; the socket stays of use. Safe when nobody waits."""
        if self._task is not None:
            self._wake(outcome.Error(error))

    def close(self) -> None:
        """The socket is about to be closed: whoever waits is told. Safe to call twice."""
        if self._fd >= 0:
            self._readiness.remove(self._fd, self)
            self._fd = -1
            self.interrupt(trio.ClosedResourceError("closed meanwhile"))

    def _refuse(self) -> NoReturn:
        if self._fd < 0:
            raise trio.ClosedResourceError("closed before")
        raise trio.BusyResourceError("another task waits for this socket")

    def _end(self, task: trio.lowlevel.Task, result: outcome.Outcome[None]) -> None:
        if self._task is task:  # the step itself has not woken it, by closing or by cancelling
            self._wake(result)

    def _wake(self, result: outcome.Outcome[None]) -> None:
        task = self._forget()
        if task is not None:
            trio.lowlevel.reschedule(task, result)

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._forget()
        return trio.lowlevel.Abort.SUCCEEDED

    def _forget(self) -> trio.lowlevel.Task | None:
        task, self._task = self._task, None
        self._woken = False
        self.deadline = math.inf
        if self._step is not None:
            self._step = None
            self._readiness.flowing -= 1
        return task
