"""Gives a connection to Hypercorn, with every write bounded and a close that the client can read.

Hypercorn's parser is laxer than ours and its defects are known, so it gets as little as possible: over HTTP/1.1 the one
request that the door has already checked (or one websocket), over TLS what chose HTTP/2.
"""

import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

import trio
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Event, Updated
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.h2 import BufferCompleteError, H2Protocol, StreamBuffer
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework

from appliance.door.transport import Transport, reset

_KEEP_ALIVE = 75.0  # seconds an idle HTTP/2 connection is kept
_PING = 20.0  # seconds between two pings of a websocket: what is between us and the client may forget a silent one
_LINGER = 2.0  # seconds that unread request bytes are drained, so that a refusal is not lost in a reset
_LINGER_BYTES = 2**18


class _Stream(trio.abc.HalfCloseableStream):
    """A transport whose writes have a deadline. Hypercorn shields its writes, so nothing else could end them."""

    def __init__(self, transport: Transport, replay: bytes, write_stall: float, *, more: bool) -> None:
        self._transport = transport
        self._replay = replay  # what the door has read already
        self._more = more  # what comes after it is for Hypercorn too
        self.write_stall = write_stall
        self.socket = transport.socket

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            with trio.fail_after(self.write_stall):
                await self._transport.send(bytes(data))
        except trio.TooSlowError:
            # The reader is gone in all but name: cut it, so that its upstream is cancelled too.
            self.abort()
            raise trio.BrokenResourceError from None
        except OSError:
            raise trio.BrokenResourceError from None

    def abort(self) -> None:
        """Close at once, with a reset; a write that is under way ends with an error."""
        reset(self.socket)
        self._transport.close()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._replay:
            data, self._replay = self._replay, b""
            await trio.lowlevel.checkpoint()
            return data
        if self.socket.fileno() < 0:
            raise trio.ClosedResourceError
        try:
            data = await self._transport.receive(max_bytes or 65536)
            while data and not self._more:
                data = await self._transport.receive()
        except OSError:
            raise trio.BrokenResourceError from None
        return data

    async def send_eof(self) -> None:
        if self.socket.fileno() >= 0:
            await self._transport.end()

    def hang_up(self) -> None:
        """Make the reader see the end of input; Hypercorn then closes once it has sent what it holds."""
        if self.socket.fileno() >= 0:
            with contextlib.suppress(OSError):  # the client was faster
                self.socket.shutdown(socket.SHUT_RD)

    async def aclose(self) -> None:
        try:
            with trio.move_on_after(_LINGER):
                drained = 0
                while drained < _LINGER_BYTES and (data := await self.receive_some()):
                    drained += len(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            pass  # the other side is gone already, or somebody still reads
        finally:
            self._transport.close()
            await trio.lowlevel.checkpoint()


class _SecureStream(_Stream):
    """The same after a TLS handshake, which Hypercorn asks for once more."""

    @property
    def transport_stream(self) -> "_Stream":
        """Where Hypercorn looks for the socket."""
        return self

    async def do_handshake(self) -> None:
        """Done by the door."""

    def selected_alpn_protocol(self) -> str:
        """What the client and we agreed on."""
        return self._transport.alpn or "http/1.1"


class _Buffers(dict[int, StreamBuffer]):
    """What waits for the windows of an HTTP/2 client, which Hypercorn lets wait for ever, and in the reader too.

    Args:
        patience: seconds until a client that opens no window is cut.
        cut: ends the connection.
    """

    def __init__(self, patience: float, cut: Callable[[], None]) -> None:
        super().__init__()
        self._patience = patience
        self._cut = cut

    def __setitem__(self, stream_id: int, buffer: StreamBuffer) -> None:
        vars(buffer).update(drain=self._bounded(buffer.drain), push=self._bounded(buffer.push))
        super().__setitem__(stream_id, buffer)

    def _bounded(self, wait: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def bounded(*args: bytes) -> None:
            with trio.move_on_after(self._patience) as scope:
                await wait(*args)
            if scope.cancelled_caught:
                self._cut()
                raise BufferCompleteError  # to Hypercorn: nobody takes this any more

        return bounded

    async def release(self) -> None:
        """The connection is over: nobody needs to wait any more. Done without waiting."""
        with trio.CancelScope(shield=True):
            for buffer in list(self.values()):
                await buffer.close()


def _resetting(
    protocol: H2Protocol, send: Callable[[StreamEvent], Awaitable[None]]
) -> Callable[[StreamEvent], Awaitable[None]]:
    """A body that the application did not end is reset. Hypercorn says nothing, and its client waits for ever."""

    async def send_or_reset(event: StreamEvent) -> None:
        buffer = protocol.stream_buffers.get(event.stream_id)
        if isinstance(event, StreamClosed) and buffer is not None and not buffer._complete:  # noqa: SLF001 - or empty
            with contextlib.suppress(ProtocolError, BufferCompleteError):  # the client was faster
                await buffer.drain()
                protocol.connection.reset_stream(event.stream_id, ErrorCodes.INTERNAL_ERROR)
                await protocol._flush()  # noqa: SLF001 - what it calls after a reset of its own
        await send(event)

    return send_or_reset


class _Server(TCPServer):
    """Hypercorn's connection, which ends with its input: by itself it would keep its idle timer, and so the socket."""

    over = False  # the input has ended

    async def protocol_send(self, event: Event) -> None:
        if not (self.over and isinstance(event, Updated)):  # a late answer would start the idle timer again
            await super().protocol_send(event)

    async def _read_data(self) -> None:
        stream, protocol = cast("_Stream", self.stream), self.protocol.protocol
        buffers = _Buffers(stream.write_stall, stream.abort)
        if isinstance(protocol, H2Protocol):
            protocol.stream_buffers = buffers
            vars(protocol).update(stream_send=_resetting(protocol, protocol.stream_send))
        try:
            await super()._read_data()
        finally:
            self.over = True
            await buffers.release()
        await self.idle_task.stop()


class Handover:
    """Runs one ASGI application for many connections."""

    def __init__(self, app: ASGIFramework, *, write_stall: float) -> None:
        """`write_stall` is how long, in seconds, one write may take."""
        self._http1, self._http2 = _config(), _config()
        self._http1.keep_alive_max_requests = 0  # what follows on this connection has not been checked by the door
        self._app = ASGIWrapper(app)
        self._context = WorkerContext(None)
        self._write_stall = write_stall
        self._open: set[_Stream] = set()

    async def run_lifespan(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start the application, and stop it when cancelled."""
        lifespan = Lifespan(self._app, self._http1, {})
        async with trio.open_nursery() as nursery:
            await nursery.start(lifespan.handle_lifespan)
            await lifespan.wait_for_startup()
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                nursery.cancel_scope.cancel()

    async def connection(self, transport: Transport, replay: bytes, *, more: bool) -> None:
        """Serve one connection until it ends.

        Args:
            transport: the connection.
            replay: what was read from it and is for Hypercorn.
            more: what follows is for Hypercorn too; else it is dropped. A second request that arrives early makes
                Hypercorn wait for ever when the client leaves during the first.
        """
        stream = (_SecureStream if transport.secure else _Stream)(transport, replay, self._write_stall, more=more)
        shared = transport.alpn == "h2"  # many requests at once: one that ends badly must not end the others
        config = self._http2 if shared else self._http1
        state: dict[str, Callable[[], None]] = {} if shared else {"appliance.hang_up": stream.hang_up}
        self._open.add(stream)
        try:
            await _Server(self._app, config, self._context, cast("Any", state), cast("Any", stream))
        finally:
            self._open.discard(stream)

    def abort(self) -> None:
        """Cut every connection: what is still open now is a reader that does not read."""
        for stream in list(self._open):
            stream.abort()

    async def close_idle(self) -> None:
        """Close connections that wait for a request; those in the middle of one go on."""
        await self._context.terminated.set()


def _config() -> Config:
    config = Config()
    config.keep_alive_timeout = _KEEP_ALIVE
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    config.h11_max_incomplete_size = 65536
    config.websocket_ping_interval = _PING
    return config
