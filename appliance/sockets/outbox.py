"""Bytes that leave together at the end of a turn of the event loop.

A short write wakes the process at the other end, on another CPU. In a turn that serves many connections, writes spread
over the turn find it asleep again and again, and each wake-up costs more than the write (measured on a virtual machine:
45 µs of 150 for a request). So short writes are posted and go out back to back: the first one wakes the reader, and the
others find it awake.
"""

import contextlib
import socket
import time

import trio

from appliance.sockets.dozing import Dozing

SHORT = 16 * 1024  # bytes of a write that can wait for the end of the turn
_LONGEST = 0.0005  # seconds that something posted waits for others, in a turn that takes long


class Outbox:
    """What is posted in this turn. One for all connections.

    Attributes:
        gathering: whoever set it calls `flush` in this turn, so that no task is woken for it.
    """

    def __init__(self) -> None:
        self._posted: list[Writer] = []
        self._since = 0.0  # when the first of them was posted
        self._task = Dozing(self._send_all, "outbox")
        self.gathering = False

    def post(self, writer: "Writer") -> None:
        """A writer has something to send; it goes out before the loop waits again."""
        posted = self._posted
        posted.append(writer)
        if self.gathering:
            return
        if len(posted) > 1:  # the task is on its way already
            if time.perf_counter() - self._since > _LONGEST:
                self.flush()
            return
        self._since = time.perf_counter()
        self._task.wake()

    def flush(self) -> None:
        """Send everything that is posted, now."""
        posted, self._posted = self._posted, []
        for writer in posted:
            writer.push()

    def _send_all(self) -> bool:
        self.flush()
        return False


class Writer:
    """The sending side of one socket: everything in order, nothing lost, nobody waited for unless asked.

    Attributes:
        blocked: the kernel takes no more at the moment; what is left goes out as soon as it does.
    """

    __slots__ = ("_broken", "_drained", "_left", "_lost", "_outbox", "_posted", "_sock", "blocked")

    def __init__(self, sock: socket.socket, outbox: Outbox) -> None:
        """`sock` is connected and non-blocking, and stays the caller's."""
        self._sock = sock
        self._outbox = outbox
        self._left: bytes | memoryview = b""
        self._posted = False
        self._broken: OSError | None = None
        self._drained: trio.Event | None = None  # somebody waits for it
        self.blocked = False
        self._lost = 0

    @property
    def idle(self) -> bool:
        """Everything has been given to the kernel, and nothing went wrong."""
        return not self._left and self._broken is None

    @property
    def unsent(self) -> int:
        """Bytes that the kernel has not taken, or never did because the connection broke."""
        return self._lost + len(self._left)

    def write(self, data: bytes | memoryview) -> None:
        """Send at the end of this turn.

        Raises:
            OSError: an earlier write has failed.
        """
        if self._left:
            self._left = b"".join((self._left, data))
        else:
            self._left = data
        if not (self._posted or self.blocked):
            if self._broken is not None:
                self._left = b""
                raise self._broken
            self._posted = True
            self._outbox.post(self)

    def push(self) -> bool:
        """Send what is there as far as the kernel takes it now; whether that was everything."""
        self._posted = False
        if not self._left or self.blocked:
            return not self._left
        try:
            sent = self._sock.send(self._left)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._fail(error)
            return True
        if sent == len(self._left):
            self._left = b""
            return True
        self._left = memoryview(self._left)[sent:]
        self.blocked = True
        trio.lowlevel.spawn_system_task(self._drain, name="drain")
        return False

    async def flush(self) -> None:
        """Return when everything has been given to the kernel.

        Raises:
            OSError: a write has failed.
        """
        if not self.push():
            self._drained = self._drained or trio.Event()
            await self._drained.wait()
        if self._broken is not None:
            raise self._broken

    def close(self) -> None:
        """Send what goes at once and forget the rest; the socket is about to be closed."""
        self.push()
        self._fail(BrokenPipeError("closed"))

    def _fail(self, error: OSError) -> None:
        self._broken = self._broken or error
        self._lost += len(self._left)
        self._left = b""
        self.blocked = False
        if self._drained is not None:
            self._drained.set()

    async def _drain(self) -> None:
        """Nothing here may raise: an error in a system task ends the program."""
        try:
            while self.blocked and self._left:
                await trio.lowlevel.wait_writable(self._sock)
                with contextlib.suppress(BlockingIOError):
                    self._left = self._left[self._sock.send(self._left) :]
        except (OSError, trio.ClosedResourceError, trio.BusyResourceError) as error:
            self._fail(error if isinstance(error, OSError) else BrokenPipeError("closed"))
        self.blocked = False
        self._left = self._left or b""  # an empty view would keep all that was sent
        if self._drained is not None:
            self._drained.set()
            self._drained = None
