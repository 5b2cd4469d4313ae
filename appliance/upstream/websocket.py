"""Websockets to model servers, by trio-websocket; its exceptions end here."""

import math
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream

from appliance.domain.targets import Endpoint
from appliance.errors import ConnectFailed, ConnectionLost, UpstreamTimeout
from appliance.upstream.deadlines import Deadlines
from appliance.upstream.dial import dial
from appliance.upstream.secure import system_trust

LARGEST = 16 * 2**20  # bytes of one message; a client may append 15 MiB of sound at once
_RECEIVE = 64 * 1024
_GOODBYE = 2.0  # seconds for the other side to agree to a close
_CLOSED_BADLY = 1006


class Rejected(Exception):  # noqa: N818 - says what happened
    """The server answered the handshake with something else.

    Attributes:
        status: HTTP status.
        body: what it said.
    """

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"the handshake was answered with {status}")
        self.status = status
        self.body = body


class Ended(Exception):  # noqa: N818 - says what happened
    """The server has closed the websocket, or the connection broke (1006)."""

    def __init__(self, code: int, reason: str | None) -> None:
        super().__init__(f"closed with {code}")
        self.code = code
        self.reason = reason


class EngineSocket:
    """One websocket. At most one message of the server waits here: who does not read slows the server."""

    def __init__(self, connection: WebSocketConnection, stream: trio.abc.Stream) -> None:
        self._connection = connection
        self._stream = stream

    async def receive(self) -> str | bytes:
        """The next message.

        Raises:
            Ended: there is none.
        """
        try:
            return await self._connection.get_message()
        except ConnectionClosed as error:
            raise _ended(error) from error

    async def send(self, message: str | bytes) -> None:
        """One message; returns when the kernel has it.

        Raises:
            Ended: the websocket is closed.
        """
        try:
            await self._connection.send_message(message)
        except ConnectionClosed as error:
            raise _ended(error) from error

    async def ping(self) -> None:
        """Ask for a sign of life, and return when it came.

        Raises:
            Ended: the websocket is closed.
        """
        try:
            await self._connection.ping()
        except ConnectionClosed as error:
            raise _ended(error) from error

    async def aclose(self) -> None:
        """Close in good order, as far as the server plays along; cancelled, just close."""
        try:
            with trio.move_on_after(_GOODBYE):
                await self._connection.aclose()
        finally:
            await _closed(self._stream)


async def open_websocket(
    nursery: trio.Nursery, endpoint: Endpoint, path: str, protocols: Sequence[str], deadlines: Deadlines
) -> EngineSocket:
    """Open a websocket; what reads from it runs in the nursery.

    Args:
        nursery: outlives the websocket.
        endpoint: whom to ask, and with which credential.
        path: under the server's root, with its query.
        protocols: to offer.
        deadlines: of connecting, and for the answer.

    Raises:
        ConnectFailed: nothing was sent but the handshake.
        ConnectionLost: the answer to the handshake is none.
        UpstreamTimeout: a deadline passed.
        Rejected: the server did not agree.
    """
    stream = await _connected(endpoint, deadlines.connect)
    address, credential = endpoint.address, endpoint.credential
    headers = [(b"authorization", f"Bearer {credential.reveal}".encode())] if credential else []
    reading = _Reading(nursery)
    try:
        with trio.move_on_after(deadlines.first_byte or math.inf) as waiting, reading.agreeing:
            connection = await wrap_client_stream(
                cast("trio.Nursery", reading),
                stream,
                address.authority,
                address.prefix + path,
                subprotocols=list(protocols),
                extra_headers=headers,
                max_message_size=LARGEST,
                receive_buffer_size=_RECEIVE,
            )
            return EngineSocket(connection, stream)
    except BaseException:
        await _closed(stream)
        raise
    await _closed(stream)
    if isinstance(reading.problem, ConnectionRejected):
        raise Rejected(reading.problem.status_code, bytes(reading.problem.body or b"")) from reading.problem
    if waiting.cancelled_caught:
        raise UpstreamTimeout("first_byte", deadlines.first_byte)
    if reading.problem is not None:
        raise ConnectionLost(f"no websocket with {address}", before_reply=True) from reading.problem
    # It ended in the handshake, of which the reader makes no error. Nothing of the client's was sent.
    raise ConnectFailed(f"cannot connect to {address}: it hung up")


class _Reading:
    """The library's reader, in the caller's nursery; a handshake that fails raises in there, and would end it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.agreeing = trio.CancelScope()
        self.problem: Exception | None = None

    def start_soon(self, read: Callable[[], Awaitable[None]]) -> None:
        """What the library asks of a nursery."""
        self._nursery.start_soon(self._guarded, read, name="websocket")

    async def _guarded(self, read: Callable[[], Awaitable[None]]) -> None:
        try:
            await read()
        except Exception as error:  # noqa: BLE001 - the library's own, and its bugs: the connection is over either way
            self.problem = error
        self.agreeing.cancel()


async def _closed(stream: trio.abc.Stream) -> None:
    with trio.CancelScope(shield=True):  # never waits
        await trio.aclose_forcefully(stream)


async def _connected(endpoint: Endpoint, seconds: float) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
    address = endpoint.address
    try:
        with trio.fail_after(seconds or math.inf):
            if address.scheme == "https":
                secure = await trio.open_ssl_over_tcp_stream(
                    address.host, address.port, ssl_context=await trio.to_thread.run_sync(system_trust)
                )
                await secure.do_handshake()
                return secure
            sock = await dial(address)
            return trio.SocketStream(trio.socket.from_stdlib_socket(sock))
    except (OSError, UnicodeError, ssl.SSLError, trio.BrokenResourceError) as error:
        raise ConnectFailed(f"cannot connect to {address}: {error}") from error
    except trio.TooSlowError as error:
        raise UpstreamTimeout("connect", seconds) from error


def _ended(error: ConnectionClosed) -> Ended:
    reason = error.reason
    return Ended(reason.code, reason.reason) if reason is not None else Ended(_CLOSED_BADLY, None)
