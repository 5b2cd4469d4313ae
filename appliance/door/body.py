"""A request's body, read when the endpoint asks for it and not before: authentication comes first."""

from collections.abc import Awaitable, Callable

import trio

from appliance.door.reply import CONTINUE
from appliance.door.transport import RECEIVE, Transport
from appliance.errors import GatewayError
from appliance.http1.chunked import ChunkedBody
from appliance.http1.incoming import RequestHead

_AT_MOST = 2**20  # bytes of one read of a large body


class Body:
    """The body of one request. Bytes behind it stay in the buffer."""

    __slots__ = ("_buffer", "_head", "_lost", "_read", "_seconds", "_transport")

    def __init__(
        self,
        head: RequestHead,
        buffer: bytearray,
        transport: Transport,
        seconds: float,
        lost: Callable[[], Awaitable[None]],
    ) -> None:
        """The connection's buffer starts where the body does.

        Args:
            head: says how the body is framed.
            buffer: received and not used yet.
            transport: brings the rest.
            seconds: for the whole body to arrive.
            lost: called when the client leaves before the end; does not return.
        """
        self._head = head
        self._buffer = buffer
        self._transport = transport
        self._seconds = seconds
        self._lost = lost
        self._read = not (head.length or head.chunked)

    async def read(self, limit: int) -> bytes:
        """The whole body, once.

        Raises:
            GatewayError: `request_too_large` past `limit` bytes, `request_timeout` when it does not arrive,
                `malformed_request` when its chunks are wrong.
        """
        head = self._head
        if self._read:
            return b""
        if head.length > limit:
            raise GatewayError(
                "request_too_large", f"The body is larger than {limit} bytes, this server's `max_body`. Send less."
            )
        if not head.chunked and len(self._buffer) >= head.length:
            return self._take(head.length)
        body = b""
        with trio.move_on_after(self._seconds) as scope:
            if head.expects_continue and not self._buffer:
                await self._transport.send(CONTINUE)
            body = await (self._chunks(limit) if head.chunked else self._rest())
        if scope.cancelled_caught:
            raise GatewayError("request_timeout", f"The body did not arrive within {self._seconds:g} s. Try again.")
        return body

    def skip(self) -> bool:
        """Get past a body that nobody read. False when it is not all here: then the connection cannot go on."""
        if not self._read and not self._head.chunked and len(self._buffer) >= self._head.length:
            self._take(self._head.length)
        return self._read

    def _take(self, length: int) -> bytes:
        body = bytes(self._buffer[:length]) if len(self._buffer) > length else bytes(self._buffer)
        del self._buffer[:length]
        self._read = True
        return body

    async def _rest(self) -> bytes:
        pieces = [bytes(self._buffer)]
        missing = self._head.length - len(self._buffer)
        self._buffer.clear()
        while missing:
            data = await self._receive(min(missing, _AT_MOST))
            pieces.append(data)
            missing -= len(data)
        self._read = True
        return b"".join(pieces)

    async def _chunks(self, limit: int) -> bytes:
        decoder = ChunkedBody(limit)
        while True:
            del self._buffer[: decoder.feed(self._buffer)]
            if decoder.complete:
                self._read = True
                return decoder.take()
            self._buffer += await self._receive(RECEIVE)

    async def _receive(self, most: int) -> bytes:
        try:
            data = await self._transport.receive(most)
        except ConnectionError:
            data = b""
        if not data:
            await self._lost()
        return data
