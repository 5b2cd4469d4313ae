"""A stream that begins before its answer does: its client waits for a slot and is told so.

The status is 200 from the first sign of life on, so everything that goes wrong later is an event in the stream.
"""

from collections.abc import Awaitable, Callable

import msgspec
import trio

from appliance.domain.calls import Dialect
from appliance.domain.http import Reply, ReplyStream
from appliance.errors import GatewayError
from appliance.gateway.accounting import Exchange
from appliance.translate import messages_error
from appliance.translate.messages_stream import PING
from appliance.wire import error_body

_COMMENT = b": keep-alive\n"  # a blank line after it would be an event to some clients, and one without data


class EarlyStream:
    """See `domain.http.ReplyStream`.

    Args:
        answer: gets the real answer; raises GatewayError.
        exchange: whose stream it is.
        on_close: told when it is closed.
    """

    def __init__(
        self, answer: Callable[[], Awaitable[Reply]], exchange: Exchange, on_close: Callable[["EarlyStream"], None]
    ) -> None:
        self.broken = False
        self.ended = False
        self._answer = answer
        self._exchange = exchange
        self._on_close = on_close
        self._messages = exchange.operation.dialect is Dialect.MESSAGES
        self._said = False  # the first sign of life
        self._inner: ReplyStream | None = None
        self._scope = trio.CancelScope()
        self._interruption: GatewayError | None = None
        exchange.answer = self

    @property
    def tokens(self) -> int:
        """None before there is an answer, which then speaks for itself."""
        return 0

    def interrupt(self, error: GatewayError) -> None:
        """End it with an error event (the server is going away); a stream inside is told by whoever knows it."""
        if self._inner is None:
            self._interruption = error
            self._scope.cancel()

    def __aiter__(self) -> "EarlyStream":
        return self

    async def __anext__(self) -> bytes:
        if not self._said:
            self._said = True
            return self._sign()
        if self.ended:
            raise StopAsyncIteration
        if self._inner is None:
            try:
                inner = await self._begun()
            except GatewayError as error:
                return self._break(error)
            if isinstance(inner, bytes):
                self.ended = self.broken = True
                return inner
            self._inner = inner
        piece = await self._inner.__anext__()
        self._look(self._inner)
        return piece

    def _look(self, inner: ReplyStream) -> None:
        self.ended, self.broken = inner.ended, inner.broken

    async def _begun(self) -> ReplyStream | bytes:
        """The stream inside, or the error event of an engine that refused.

        Raises:
            GatewayError: there is none.
        """
        with self._scope:
            reply = await self._answer()
            return self._event(reply.body) if isinstance(reply.body, bytes) else reply.body
        raise self._interruption or GatewayError("draining", "The server is going away. Try again soon.")

    def _event(self, body: bytes) -> bytes:
        """The whole answer of an engine that does not stream, nearly always an error, as an event."""
        name = b"event: error\n" if self._messages else b""
        try:
            return name + b"data: " + msgspec.json.encode(msgspec.json.decode(body)) + b"\n\n"
        except ValueError:
            return self._break(GatewayError("upstream_protocol", "The model server refused the request in no JSON."))

    def _sign(self) -> bytes:
        return PING if self._messages else _COMMENT

    def _break(self, error: GatewayError) -> bytes:
        self.ended = self.broken = True
        self._exchange.failed(error, status=200)
        build = messages_error.error_event if self._messages else error_body.error_event
        return build(error, self._exchange.request_id)

    async def pump(self, offer: Callable[[bytes], bool]) -> None:
        """See `domain.http.ReplyStream`."""
        inner = self._inner
        if inner is None or self.ended:
            return

        def passed(piece: bytes) -> bool:
            self._look(inner)  # whoever takes a piece asks whether it is the last
            return offer(piece)

        await inner.pump(passed)
        self._look(inner)

    def keep_alive(self) -> bytes:
        """See `domain.http.ReplyStream`."""
        if self._inner is not None:
            return self._inner.keep_alive()
        return b"" if self.ended else self._sign()

    def close(self) -> bool:
        """See `domain.http.ReplyStream`."""
        self._on_close(self)
        if self._inner is not None:
            return self._inner.close()
        self._exchange.client_left()
        return True

    async def aclose(self) -> None:
        """See `domain.http.ReplyStream`."""
        if not self.close() and self._inner is not None:
            await self._inner.aclose()
