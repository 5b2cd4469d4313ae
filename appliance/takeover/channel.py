"""Messages and open files over a Unix socket: the edge."""

import array
import contextlib
import os
import socket
from collections import deque
from collections.abc import Sequence

import trio

from appliance.takeover.messages import MOST_FILES, Garbled, Incoming, Message, encode

_RECEIVE = 2**16  # bytes
_INT = array.array("i").itemsize
_ROOM = socket.CMSG_SPACE(MOST_FILES * _INT)


class Ended(Exception):  # noqa: N818 - a state of the conversation
    """The other side is gone."""


class Channel:
    """One end. One task receives; `run` sends what `post` was given.

    Attributes:
        broken: the other side takes nothing any more.
    """

    def __init__(self, sock: socket.socket) -> None:
        """`sock` is a connected Unix stream socket; closed by `close`."""
        sock.setblocking(False)  # noqa: FBT003 - the standard library's own name for it
        self._sock = sock
        self._outgoing: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._more = trio.Event()
        self._empty = trio.Event()
        self._incoming = Incoming()
        self._messages: deque[tuple[Message, int]] = deque()
        self._files: deque[int] = deque()
        self.broken = False

    def post(self, message: Message, files: Sequence[int] = ()) -> None:
        """Send a message as soon as that goes, in its order. Never waits and never fails: see `broken`.

        Args:
            message: what is said.
            files: open files that go along; closed here once they are sent, or cannot be.
        """
        self._outgoing.append((memoryview(encode(message, len(files))), tuple(files)))
        self._push()
        self._more.set()

    async def run(self) -> None:
        """Send until cancelled, or until it is broken."""
        while not self.broken:
            await self._more.wait()
            while self._outgoing:
                try:
                    await trio.lowlevel.wait_writable(self._sock)
                except (OSError, trio.ClosedResourceError):
                    self._break()
                self._push()
            self._empty.set()
            if not self.broken:
                self._more = trio.Event()

    async def flush(self) -> None:
        """Return when everything was sent, or cannot be. Needs `run`."""
        while self._outgoing:
            self._empty = trio.Event()
            await self._empty.wait()

    async def receive(self) -> tuple[Message, list[int]]:
        """The next message, and its open files, which are the caller's to close.

        Raises:
            Ended: there is none.
            Garbled: it cannot be understood.
        """
        while not self._messages:
            try:
                await trio.lowlevel.wait_readable(self._sock)
                data, ancillary, flags, _ = self._sock.recvmsg(_RECEIVE, _ROOM, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                continue
            except (OSError, trio.ClosedResourceError):
                raise Ended from None
            for level, kind, content in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    self._files.extend(array.array("i", content[: len(content) // _INT * _INT]))
            if flags & socket.MSG_CTRUNC:
                raise Garbled("open files were lost: there is no room for as many")
            if not data:
                raise Ended
            self._messages.extend(self._incoming.feed(data))
        message, files = self._messages.popleft()
        if files > len(self._files):
            raise Garbled("a message came without its open files")
        return message, [self._files.popleft() for _ in range(files)]

    def close(self) -> None:
        """The other side sees the end. Safe to call twice."""
        self._break()
        while self._files:
            os.close(self._files.popleft())
        if self._sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()

    def _push(self) -> None:
        while self._outgoing and not self.broken:
            data, files = self._outgoing[0]
            passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
            try:
                sent = self._sock.sendmsg([data], passed)
            except BlockingIOError:
                return
            except OSError:
                self._break()
                return
            _close_all(files)
            if sent == len(data):
                self._outgoing.popleft()
            else:
                self._outgoing[0] = (data[sent:], ())
        if self.broken:
            self._break()

    def _break(self) -> None:
        self.broken = True
        while self._outgoing:
            _close_all(self._outgoing.popleft()[1])
        self._empty.set()
        self._more.set()


def _close_all(files: Sequence[int]) -> None:
    for file in files:
        with contextlib.suppress(OSError):
            os.close(file)
