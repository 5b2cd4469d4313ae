"""Seeing clients leave, and deadlines pass, without a task or a timer for each of them.

A connection that waits for a model has no read of its own under way, and a read would stop at bytes of a next request
long before it met the end. So the kernel is asked for the end alone: all client sockets are in one epoll set that
reports the other side's shutdown once (edge-triggered), whatever else is unread, and that set is one file descriptor
for Trio. Deadlines are numbers that one task looks at a few times a second.
"""

import select
import socket
from typing import Protocol

import trio

_TICK = 0.25  # seconds between two looks at the deadlines; the finest of them is ten times that
_GONE = select.EPOLLRDHUP | select.EPOLLET  # errors and resets are reported in any case
_AT_ONCE = 1024


class Watched(Protocol):
    """A connection, as the watch sees it.

    Attributes:
        deadline: Trio time at which `expired` is called; infinity for never.
    """

    deadline: float

    def left(self) -> None:
        """The client has closed its side, or the connection is broken."""
        ...

    def expired(self) -> None:
        """The deadline has passed."""
        ...


class Watch:
    """All client connections of the process. `run` does the looking."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._by_fd: dict[int, Watched] = {}

    def __len__(self) -> int:
        return len(self._by_fd)

    def add(self, sock: socket.socket, connection: Watched) -> None:
        """Watch a connection until `remove`; what has happened to it already is reported too."""
        fd = sock.fileno()
        self._by_fd[fd] = connection
        self._epoll.register(fd, _GONE)

    def remove(self, sock: socket.socket) -> None:
        """Forget a connection; to be called before its socket is closed. Safe to call twice."""
        fd = sock.fileno()
        if fd >= 0 and self._by_fd.pop(fd, None) is not None and not self._epoll.closed:
            self._epoll.unregister(fd)

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._departures, name="departures")
                nursery.start_soon(self._deadlines, name="deadlines")
        finally:
            self._epoll.close()

    async def _departures(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for fd, _ in self._epoll.poll(0, _AT_ONCE):
                if (connection := self._by_fd.get(fd)) is not None:
                    connection.left()

    async def _deadlines(self) -> None:
        while True:
            await trio.sleep(_TICK)
            now = trio.current_time()
            for connection in [one for one in self._by_fd.values() if one.deadline <= now]:
                connection.expired()
