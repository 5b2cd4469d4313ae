"""Binds, accepts, and keeps one connection's failure away from all others."""

import errno
import logging
from collections.abc import Awaitable, Callable

import trio

from appliance.errors import OperatorError

_LOG = logging.getLogger("appliance.door")
_BACKLOG = 1024
# The process or the machine is out of something for the moment; accepting again later is right.
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}


class Listener:
    """One TCP address. Each accepted connection runs in a task of this listener's nursery."""

    def __init__(
        self, listeners: list[trio.SocketListener], handler: Callable[[trio.SocketStream], Awaitable[None]]
    ) -> None:
        self._listeners = listeners
        self._handler = handler
        self._accepting = trio.CancelScope()
        host, port, *_ = listeners[0].socket.getsockname()
        self.host: str = host
        self.port: int = port
        self.connections = 0  # open now

    @classmethod
    async def bind(cls, host: str, port: int, handler: Callable[[trio.SocketStream], Awaitable[None]]) -> "Listener":
        """Listen on an address; port 0 takes a free one.

        Raises:
            OperatorError: the address cannot be used; the text says why and what to do.
        """
        try:
            return cls(await trio.open_tcp_listeners(port, host=host, backlog=_BACKLOG), handler)
        except OSError as error:
            why = "another program listens there" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
            raise OperatorError(
                f"cannot listen on {host}:{port}: {why}; choose another address with `listen` or --port"
            ) from error

    async def run(self) -> None:
        """Accept until told to stop; returns when the last connection has ended."""
        async with trio.open_nursery() as connections:
            with self._accepting:
                async with trio.open_nursery() as accepting:
                    for listener in self._listeners:
                        accepting.start_soon(
                            self._accept, listener, connections, name=f"accept {self.host}:{self.port}"
                        )

    def stop_accepting(self) -> None:
        """New connections are refused from now on; open ones go on."""
        self._accepting.cancel()

    async def aclose(self) -> None:
        """Close the listening sockets."""
        for listener in self._listeners:
            await listener.aclose()

    async def _accept(self, listener: trio.SocketListener, connections: trio.Nursery) -> None:
        async with listener:
            while True:
                try:
                    stream = await listener.accept()
                except OSError as error:
                    if error.errno not in _EXHAUSTED:
                        raise
                    _LOG.warning("cannot accept connections for the moment: %s", error.strerror)
                    await trio.sleep(0.1)
                else:
                    connections.start_soon(self._guard, stream, name="connection")

    async def _guard(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        try:
            async with stream:
                await self._handler(stream)
        except* trio.Cancelled:
            raise
        except* Exception as group:  # noqa: BLE001 - nothing may leave a connection
            _LOG.warning("a connection was dropped: %s", _first(group))
        finally:
            self.connections -= 1


def _first(error: BaseException) -> str:
    """The innermost cause, on one line; the bytes that provoked it are not repeated."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return type(error).__name__
