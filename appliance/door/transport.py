"""The bytes of one client connection, without TLS: a raw non-blocking socket on Trio's event loop.

Trio's own stream classes guard against misuse with locks and checks that cost as much as the work itself. A connection
has one owner here, so it can do without.
"""

import contextlib
import socket
from typing import Protocol

import trio

from appliance.sockets.outbox import SHORT, Writer
from appliance.sockets.readiness import Reader, Readiness

RECEIVE = 64 * 1024  # bytes; most that one read takes
_GOODBYE = 2.0  # seconds for the last bytes to be taken
Socket = socket.socket  # in classes that have an attribute of this name
NOTHING = memoryview(b"")  # left to send; the empty end of another view would keep all of its bytes alive


class Transport(Protocol):
    """What a connection needs; `door.tls` has the other one.

    Attributes:
        socket: raw and non-blocking; for whoever watches it.
        secure: it is TLS.
        alpn: the protocol that a TLS handshake chose, else "".
    """

    socket: socket.socket
    secure: bool
    alpn: str

    async def receive(self, most: int = RECEIVE) -> bytes:
        """Some bytes; b"" when the client has ended its side.

        Raises:
            ConnectionError: the connection is broken.
        """
        ...

    async def send(self, data: bytes | memoryview) -> None:
        """All of it. Cancelled half-way, the connection is of no use any more.

        Raises:
            OSError: the connection is broken.
        """
        ...

    def offer(self, data: bytes) -> bool:
        """Send without waiting, now or at the end of this turn of the loop; False when the client takes no more.

        After False comes `flush`. What goes wrong with a late write is raised by the next call.

        Raises:
            OSError: the connection is broken, or something is left from before.
        """
        ...

    async def flush(self) -> None:
        """Send what `offer` has left.

        Raises:
            OSError: the connection is broken.
        """
        ...

    async def end(self) -> None:
        """Tell the client that nothing more follows; bounded, and never an error."""
        ...

    def move(self, *, waiting: bool) -> Socket | None:
        """Give the connection away: another socket of it, for somebody else to go on with, and this one is closed.

        Args:
            waiting: a task is in `receive`; it is told by a `ClosedResourceError`.

        Returns:
            None, and nothing has happened, when there is something that the socket alone does not know: bytes on
            their way in or out, or the keys of TLS.
        """
        ...

    def close(self) -> None:
        """Close the socket now; safe to call twice."""
        ...


class PlainTransport:
    """TCP as it is."""

    __slots__ = ("_reader", "_writer", "alpn", "secure", "socket")

    def __init__(self, sock: socket.socket, readiness: Readiness | None = None) -> None:
        """Take over a socket.

        Args:
            sock: connected and non-blocking; closed by `close`.
            readiness: shared by all connections; one of its own when absent.
        """
        self.socket = sock
        self.secure = False
        self.alpn = ""
        readiness = readiness or Readiness()
        self._reader = Reader(sock, readiness)
        self._writer = Writer(sock, readiness.outbox)

    async def receive(self, most: int = RECEIVE) -> bytes:
        """Some bytes; b"" when the client has ended its side.

        It waits even when bytes are there: that is where other connections get their turn.
        """
        reader = self._reader
        while True:
            await reader.wait()
            try:
                return reader.read(most)
            except BlockingIOError:
                continue

    async def send(self, data: bytes | memoryview) -> None:
        """All of it. What is short goes out at the end of this turn of the loop, without a wait."""
        writer = self._writer
        writer.write(data)
        if len(data) > SHORT or writer.blocked:
            await writer.flush()

    def offer(self, data: bytes) -> bool:
        """Send what goes without waiting; False when some is left, which `flush` has to send before anything else."""
        writer = self._writer
        writer.write(data)
        return not writer.blocked

    async def flush(self) -> None:
        """Send what `offer` has left."""
        if self._writer.blocked:
            await self._writer.flush()

    async def end(self) -> None:
        """Half-close: the client sees the end and can still be read."""
        with contextlib.suppress(OSError):  # the client was faster
            with trio.move_on_after(_GOODBYE):
                await self._writer.flush()
            self.socket.shutdown(socket.SHUT_WR)

    def move(self, *, waiting: bool) -> Socket | None:
        """See `Transport`."""
        self._writer.push()
        # One that waited and has been woken reads next, and what it reads would be lost.
        if not self._writer.idle or self._reader.parked != waiting or self.socket.fileno() < 0:
            return None
        elsewhere = self.socket.dup()
        self.close()
        return elsewhere

    def close(self) -> None:
        """Close the socket now; a task that waits for it is woken with an error."""
        if self.socket.fileno() >= 0:
            self._reader.close()
            self._writer.close()
            trio.lowlevel.notify_closing(self.socket)
            self.socket.close()


def reset(sock: socket.socket) -> None:
    """Make the coming close drop what is unsent: the client takes nothing anyway, and its memory is wanted back."""
    if sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
