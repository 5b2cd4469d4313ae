"""Binds, accepts within bounds, and keeps one connection's failure away from all others."""

import contextlib
import errno
import fcntl
import logging
import os
import resource
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import trio

from appliance.errors import OperatorError

_LOG = logging.getLogger("appliance.door")
_BACKLOG = 1024
_UNSENT = 2**17  # bytes the kernel holds for a client that does not read; by itself it takes millions for each
_AT_ONCE = 64  # connections accepted before others get their turn
_PAUSE = 0.1  # seconds until another try when the process or the machine is out of something
_QUIET = 10.0  # seconds between two warnings about the same shortage
_TABLE = 16_384  # descriptors that the kernel has room for from the start; 128 KiB
_RESERVED = 64  # file descriptors kept for engines, logs and model servers
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
# Errors of one connection that accept reports although the listening socket is fine (accept(2)).
_PASSING = {errno.ECONNABORTED, errno.EPERM, errno.EPROTO, errno.ENETDOWN, errno.EHOSTDOWN, errno.EHOSTUNREACH}

Handler = Callable[[socket.socket, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Caps:
    """How many connections may be open at once.

    Attributes:
        total: of all clients.
        per_address: of one address; 0 is no limit, since a NAT or a proxy is one address.
    """

    total: int
    per_address: int = 0


class Desk(Protocol):
    """Who takes the accepted sockets."""

    async def serve(self, sock: socket.socket, peer: str) -> None:
        """Serve one connection to its end; the socket is closed on return."""
        ...

    def turn_away(self, sock: socket.socket, reason: str) -> None:
        """Refuse a connection at once, without waiting; `reason` is "limit" or "address_limit"."""
        ...

    def make_room(self) -> None:
        """Close connections that wait for nothing, if there are any."""
        ...

    def failed(self, error: BaseException) -> None:
        """A connection ended with an error that nobody expected."""
        ...


def descriptors() -> int:
    """Raise the limit of open files as far as the system lets us, and return how many clients that allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    _make_room(min(hard, _TABLE) - 1)
    return max(hard - _RESERVED, 1)


def _make_room(highest: int) -> None:
    """Let the kernel's table of our open files grow now.

    It doubles when a number does not fit, and in a process with threads waits for all CPUs before it goes on: 5 to
    40 ms each time, in the middle of an accept, with every stream standing still.
    """
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as any_file:
        os.close(fcntl.fcntl(any_file, fcntl.F_DUPFD_CLOEXEC, highest))


class Listener:
    """The sockets of one listening address. Each accepted connection runs in a task of this listener's nursery."""

    def __init__(self, sockets: list[socket.socket], desk: Desk, caps: Caps) -> None:
        self._sockets = sockets
        self._desk = desk
        self._caps = caps
        self._accepting = trio.CancelScope()
        self._by_address: Counter[str] = Counter()
        self._warned = -_QUIET
        self._connections: trio.Nursery | None = None  # while it runs
        name = sockets[0].getsockname()
        self.host: str = name if isinstance(name, str) else name[0]  # a Unix socket's name is its path
        self.port: int = 0 if isinstance(name, str) else name[1]
        self.connections = 0  # open now
        self._paused: trio.Event | None = None

    @classmethod
    async def bind(cls, host: str, port: int, desk: Desk, caps: Caps) -> "Listener":
        """Listen on an address; port 0 takes a free one.

        Raises:
            OperatorError: the address cannot be used; the text says why and what to do.
        """
        sockets: list[socket.socket] = []
        try:
            found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, _, _, _, address in dict.fromkeys(found):
                sockets.append(_listening(family, address))
        except OSError as error:
            for sock in sockets:
                sock.close()
            why = "another program listens there" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
            raise OperatorError(
                f"cannot listen on {host}:{port}: {why}; choose another address with `listen`"
            ) from error
        return cls(sockets, desk, caps)

    async def run(self) -> None:
        """Accept until told to stop; returns when the last connection has ended."""
        name = f"accept {self.host}:{self.port}"
        try:
            async with trio.open_nursery() as connections:
                self._connections = connections
                with self._accepting:
                    async with trio.open_nursery() as accepting:
                        for sock in self._sockets:
                            accepting.start_soon(self._accept, sock, connections, name=name)
        finally:
            self.close()

    @property
    def files(self) -> list[int]:
        """The listening sockets, for another process to listen on as well."""
        return [sock.fileno() for sock in self._sockets]

    def pause(self) -> None:
        """New connections wait from now on, in the kernel, until `resume` or until another process accepts them."""
        self._paused = trio.Event()

    def resume(self) -> None:
        """Accept again."""
        paused, self._paused = self._paused, None
        if paused is not None:
            paused.set()

    def take_in(self, sock: socket.socket, peer: str) -> None:
        """Serve a connection that another process has accepted."""
        if self._connections is None:
            sock.close()
        else:
            self._admit(sock, peer, self._connections)

    def stop_accepting(self) -> None:
        """New connections are refused from now on; open ones go on."""
        self._accepting.cancel()
        self.close()

    def close(self) -> None:
        """Close the listening sockets; safe to call twice."""
        for sock in self._sockets:
            if sock.fileno() >= 0:
                trio.lowlevel.notify_closing(sock)
                sock.close()

    async def _accept(self, listening: socket.socket, connections: trio.Nursery) -> None:
        tcp = listening.family != socket.AF_UNIX
        while True:
            await trio.lowlevel.wait_readable(listening)
            if self._paused is not None:
                await self._paused.wait()
            try:
                for _ in range(_AT_ONCE):
                    sock, address = listening.accept()
                    if tcp:
                        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
                    self._admit(sock, str(address[0]) if tcp else "", connections)
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno in _PASSING:
                    continue
                if error.errno not in _EXHAUSTED:
                    raise
                self._warn("cannot accept connections for the moment: %s", error.strerror)
                self._desk.make_room()
                await trio.sleep(_PAUSE)

    def _admit(self, sock: socket.socket, peer: str, connections: trio.Nursery) -> None:
        caps = self._caps
        if caps.per_address and self._by_address[peer] >= caps.per_address:
            self._desk.turn_away(sock, "address_limit")
            return
        if self.connections >= caps.total:
            self._warn("all %d client connections are in use", caps.total)
            self._desk.make_room()  # for the next one: these end a moment later
            self._desk.turn_away(sock, "limit")
            return
        sock.settimeout(0)
        self.connections += 1
        self._by_address[peer] += 1
        connections.start_soon(self._guard, sock, peer, name="connection")

    async def _guard(self, sock: socket.socket, peer: str) -> None:
        try:
            await self._desk.serve(sock, peer)
        except* trio.Cancelled:
            raise
        except* Exception as group:  # noqa: BLE001 - nothing may leave a connection
            self._desk.failed(_first(group))
        finally:
            sock.close()
            self.connections -= 1
            self._by_address[peer] -= 1
            if not self._by_address[peer]:
                del self._by_address[peer]

    def _warn(self, text: str, *args: object) -> None:
        now = trio.current_time()
        if now - self._warned >= _QUIET:
            self._warned = now
            _LOG.warning(text, *args)


def _listening(family: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # the same port of IPv4 is a socket of its own
        sock.bind(address)
        sock.listen(_BACKLOG)
        sock.settimeout(0)
    except BaseException:
        sock.close()
        raise
    return sock


def _first(error: BaseException) -> BaseException:
    """The innermost cause."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
