"""Gives a connection to Hypercorn, with every write bounded and a close that the client can read."""

import socket
from collections.abc import Callable
from typing import Any, cast

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework

_KEEP_ALIVE = 75.0  # seconds an idle client connection is kept: longer than the SDKs' own pools
_LINGER = 2.0  # seconds that unread request bytes are drained, so that a refusal is not lost in a reset
_LINGER_BYTES = 2**18


class _Stream(trio.abc.HalfCloseableStream):
    """A socket whose writes have a deadline. Hypercorn shields its writes, so nothing else could end them."""

    def __init__(self, stream: trio.SocketStream, write_stall: float) -> None:
        self._stream = stream
        self._write_stall = write_stall
        self.socket = stream.socket

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            with trio.fail_after(self._write_stall):
                await self._stream.send_all(data)
        except trio.TooSlowError:
            # The reader is gone in all but name: cut it, so that its upstream is cancelled too.
            self.abort()
            raise trio.BrokenResourceError from None

    def abort(self) -> None:
        """Close at once, with a reset; a write that is under way ends with an error."""
        if self.socket.fileno() >= 0:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.socket.close()

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self._stream.receive_some(max_bytes))

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    def hang_up(self) -> None:
        """Make the reader see the end of input; Hypercorn then closes once it has sent what it holds."""
        if self.socket.fileno() >= 0:
            self.socket.shutdown(socket.SHUT_RD)

    async def aclose(self) -> None:
        try:
            with trio.move_on_after(_LINGER):
                drained = 0
                while drained < _LINGER_BYTES and (data := await self._stream.receive_some(65536)):
                    drained += len(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            pass  # the other side is gone already, or somebody still reads
        finally:
            await self._stream.aclose()


class _Server(TCPServer):
    """Hypercorn's connection, which ends with its input: by itself it would keep its idle timer, and so the socket."""

    async def _read_data(self) -> None:
        await super()._read_data()
        await self.idle_task.stop()


class Handover:
    """Runs one ASGI application for many connections."""

    def __init__(self, app: ASGIFramework, *, write_stall: float) -> None:
        """`write_stall` is how long, in seconds, one write may take."""
        self._config = Config()
        self._config.keep_alive_timeout = _KEEP_ALIVE
        self._config.accesslog = None
        self._config.errorlog = None
        self._config.include_server_header = False
        self._config.h11_max_incomplete_size = 65536
        self._app = ASGIWrapper(app)
        self._context = WorkerContext(None)
        self._write_stall = write_stall
        self._open: set[_Stream] = set()

    async def run_lifespan(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start the application, and stop it when cancelled."""
        lifespan = Lifespan(self._app, self._config, {})
        async with trio.open_nursery() as nursery:
            await nursery.start(lifespan.handle_lifespan)
            await lifespan.wait_for_startup()
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                nursery.cancel_scope.cancel()

    async def connection(self, stream: trio.SocketStream) -> None:
        """Serve one connection until it ends."""
        bounded = _Stream(stream, self._write_stall)
        state: dict[str, Callable[[], None]] = {"appliance.hang_up": bounded.hang_up}
        self._open.add(bounded)
        try:
            await _Server(self._app, self._config, self._context, cast("Any", state), cast("Any", bounded))
        finally:
            self._open.discard(bounded)

    def abort(self) -> None:
        """Cut every connection: what is still open now is a reader that does not read."""
        for stream in list(self._open):
            stream.abort()

    async def close_idle(self) -> None:
        """Close connections that wait for a request; those in the middle of one go on."""
        await self._context.terminated.set()
