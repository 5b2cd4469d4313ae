"""Takes in each accepted connection and knows all that are open."""

import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from appliance.door.connection import Connection
from appliance.door.reply import render
from appliance.door.surroundings import Surroundings
from appliance.door.transport import PlainTransport, Transport
from appliance.errors import GatewayError

_LOG = logging.getLogger("appliance.door")
_ROOM = 64  # idle connections closed at once when there is no room for another
_HANDSHAKE = 10.0  # seconds
_QUIET = 10.0  # seconds between two warnings; the metric counts them all


class Counts(Protocol):
    """What the reception tells whoever counts."""

    def connection_refused(self, reason: str) -> None:
        """A connection was turned away: "limit", "address_limit" or "handshake"."""
        ...

    def connection_error(self) -> None:
        """A connection ended with an error of ours, which was contained."""
        ...


class Reception:
    """The desk behind the listener.

    Args:
        around: what all connections share.
        counts: is told of connections that went wrong.
        secure: the TLS handshake, where the server speaks TLS; raises `ConnectionError` with the reason when it fails.
    """

    def __init__(
        self,
        around: Surroundings,
        counts: Counts,
        secure: Callable[[socket.socket], Awaitable[Transport]] | None = None,
    ) -> None:
        self._around = around
        self._counts = counts
        self._secure = secure
        self._open: set[Connection] = set()
        self._told = -_QUIET

    async def serve(self, sock: socket.socket, peer: str) -> None:
        """Serve one connection to its end; the socket is closed on return."""
        transport = await self._transport(sock)
        if transport is None:
            return
        if transport.alpn == "h2":
            await self._around.hand_over(transport, b"", more=True)
            return
        connection = Connection(transport, peer, self._around)
        self._open.add(connection)
        try:
            await connection.run()
        finally:
            self._open.discard(connection)

    async def _transport(self, sock: socket.socket) -> Transport | None:
        if self._secure is None:
            return PlainTransport(sock, self._around.readiness)
        try:
            with trio.fail_after(_HANDSHAKE):
                return await self._secure(sock)
        except (ConnectionError, trio.TooSlowError) as error:
            self._counts.connection_refused("handshake")
            _LOG.debug("a TLS handshake failed: %s", error)
            return None

    def turn_away(self, sock: socket.socket, reason: str) -> None:
        """Refuse a connection at once, without waiting."""
        self._counts.connection_refused(reason)
        error = GatewayError(
            "too_many_connections", "The server has as many connections open as it can take. Try again.", retry_after=1
        )
        with sock:
            if self._secure is None:
                reply = self._around.application.refusal(error)
                date = self._around.clock.line()
                try:
                    sock.settimeout(0)
                    sock.send(render(reply, date=date, keep=False, http10=False, head_only=False))
                    sock.shutdown(socket.SHUT_WR)
                    sock.recv(65536)  # a request that is here already would turn the close into a reset
                except OSError:
                    pass  # it is refused either way

    def make_room(self) -> None:
        """Close the connections that have waited longest for a request, if there are any."""
        idle = sorted((one for one in self._open if one.idle), key=lambda one: one.deadline)
        for connection in idle[:_ROOM]:
            connection.close_if_idle()

    def failed(self, error: BaseException) -> None:
        """A connection ended with an error that nobody expected; the bytes that provoked it are not repeated."""
        self._counts.connection_error()
        now = trio.current_time()
        if now - self._told >= _QUIET:  # whoever can provoke one can provoke a million
            self._told = now
            _LOG.warning("a connection was dropped: %s", type(error).__name__)

    def close_idle(self) -> None:
        """The server goes away: close what is idle, and the others after their present request."""
        self._around.closing = True
        for connection in list(self._open):
            connection.close_if_idle()

    def move_idle(self, elsewhere: Callable[[socket.socket, str], None]) -> None:
        """Another process serves from now on: it gets every connection as soon as no request is under way there.

        Those with TLS, whose keys cannot be given away, are closed as `close_idle` does it.
        """
        self._around.elsewhere = elsewhere
        self._around.closing = True
        for connection in list(self._open):
            connection.move_if_idle()

    def interrupt(self, error: GatewayError) -> None:
        """The server cannot wait any longer: requests without an answer get an error."""
        for connection in list(self._open):
            connection.interrupt(error)

    def cut(self) -> None:
        """End every connection now: what is still open is a reader that does not read."""
        for connection in list(self._open):
            connection.cut()
