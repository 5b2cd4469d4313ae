"""Whole events from the engine to the client as they arrive, with the end checked.

Nothing is buffered beyond the unfinished event; one read of the engine is at most one write to the client. A stream
ends well only with `[DONE]` after some content, or with a finish reason for every choice that was begun: anything else
becomes a typed error event, no `[DONE]` of ours, and a closed connection.
"""

import contextlib
from collections.abc import Callable

import trio

from appliance.domain.calls import Usage
from appliance.errors import GatewayError, UpstreamError
from appliance.gateway.accounting import Exchange
from appliance.gateway.attempts import EngineReply, in_gateway_terms
from appliance.sse import Splitter, data_of, is_done
from appliance.wire.chunk import peek
from appliance.wire.error_body import error_event

_DONE_EVENT = b"data: [DONE]\n\n"
_TAIL_SECONDS = 0.2


class Relay:
    """A streamed reply. Iterate it for bytes; whoever has it closes it."""

    def __init__(
        self, upstream: EngineReply, exchange: Exchange, *, hide_usage: bool, on_close: Callable[["Relay"], None]
    ) -> None:
        self.broken = False
        self._upstream = upstream
        self._exchange = exchange
        self._hide_usage = hide_usage
        self._on_close = on_close
        self._splitter = Splitter()
        self._first = b""
        self._ended = False
        self._open: set[int] = set()  # choices that were begun and have no finish reason yet
        self._finished = False  # a finish reason was seen
        self._done = False  # `[DONE]` was passed on
        self._tail_read = False
        self._error_seen = False  # the engine itself sent an error event
        self._content = 0  # chunks with content, the estimate when the engine never reports usage
        self._scope: trio.CancelScope | None = None
        self._interruption: GatewayError | None = None

    async def prime(self) -> None:
        """Wait for the first event, while a failure can still be answered with a real status.

        Raises:
            GatewayError: the stream was over before it began.
        """
        try:
            self._first = await self._next_bytes()
        except UpstreamError as error:
            raise in_gateway_terms(error, self._exchange.target) from error
        if self._interruption is not None:
            raise self._interruption
        if not self._first:
            raise self._bad_end()

    def interrupt(self, error: GatewayError) -> None:
        """End the stream with an error event now (the server is going away)."""
        self._interruption = error
        if self._scope is not None:
            self._scope.cancel()

    def __aiter__(self) -> "Relay":
        return self

    async def __anext__(self) -> bytes:
        if self._first:
            out, self._first = self._first, b""
            return self._sent(out)
        if self._ended:
            raise StopAsyncIteration
        try:
            out = await self._next_bytes()
        except UpstreamError as error:
            return self._break(in_gateway_terms(error, self._exchange.target))
        if self._interruption is not None:
            return self._break(self._interruption)
        return self._sent(out) if out else self._end()

    def _sent(self, out: bytes) -> bytes:
        self._exchange.phase = "streaming"
        self._exchange.bytes_out += len(out)
        if self._done and not self._ended:
            self._ended = True
            self._estimate()
            self._exchange.done(200)
        return out

    def _end(self) -> bytes:
        """The engine's body is over without `[DONE]`: is that a good end?"""
        if self._error_seen:
            self._ended = self.broken = True
            self._exchange.failed(
                GatewayError("backend_died", "the engine reported an error in its stream"), status=200
            )
            raise StopAsyncIteration
        if self._finished and not self._open and not self._splitter.pending:
            self._done = True
            return self._sent(_DONE_EVENT)
        return self._break(self._bad_end())

    def _break(self, error: GatewayError) -> bytes:
        self._ended = self.broken = True
        self._estimate()
        self._exchange.failed(error, status=200)
        return self._sent(error_event(error, self._exchange.request_id))

    def _bad_end(self) -> GatewayError:
        target = self._exchange.target
        if self._content == 0:
            return GatewayError("empty_response", f"The model server {target!r} ended the stream without any content.")
        return GatewayError(
            "stream_truncated", f"The model server {target!r} ended the stream too early; the answer is incomplete."
        )

    async def _next_bytes(self) -> bytes:
        """Bytes for the client, or b"" when the engine's body is over."""
        while True:
            with trio.CancelScope() as self._scope:
                if self._interruption is not None:
                    self._scope.cancel()
                data = await self._upstream.receive()
            if self._scope.cancelled_caught:
                return b""
            if not data:
                return b""
            out = [event for event in self._splitter.feed(data) if self._wanted(event)]
            if out:
                return b"".join(out)

    def _wanted(self, event: bytes) -> bool:
        """Look at one event; False when the client must not see it."""
        if is_done(event):
            # After nothing at all, or after an error of the engine, it would look like success.
            self._done = not self._error_seen and (self._finished or self._content > 0)
            return self._done
        chunk = peek(data_of(event))
        if chunk.error:
            self._error_seen = True
        if chunk.content:
            self._content += 1
            self._exchange.token_seen()
        self._open = (self._open | chunk.open) - chunk.ended
        self._finished = self._finished or bool(chunk.ended)
        if chunk.usage is not None:
            self._exchange.usage = chunk.usage
        return not (self._hide_usage and chunk.usage_only)

    def _estimate(self) -> None:
        if self._exchange.usage == Usage() and self._content:
            self._exchange.usage = Usage(output=self._content, estimated=True)

    async def aclose(self) -> None:
        """Close the upstream, which is how an engine learns to stop, and settle the account."""
        if not self._exchange.settled:
            self._estimate()
            self._exchange.client_left()
        self._on_close(self)
        if self._done and not self._tail_read:
            self._tail_read = True
            # The end of the body follows at once; reading it keeps the connection for the next request.
            with trio.move_on_after(_TAIL_SECONDS), contextlib.suppress(UpstreamError):
                await self._upstream.receive()
        await self._upstream.aclose()
