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
from appliance.gateway.attempts import in_gateway_terms
from appliance.gateway.engine_reply import EngineReply
from appliance.sse import Splitter, cut, data_of, is_done
from appliance.wire.chunk import peek
from appliance.wire.error_body import error_event
from appliance.wire.token_shape import TokenShape, shape_of

_DONE_EVENT = b"data: [DONE]\n\n"
_KEEP_ALIVE = b": keep-alive\n"  # a blank line after it would be an event to some clients, and one without data
_TAIL_SECONDS = 0.2
_FLOOD = 2048  # bytes of one read; from here on comparing all events at once pays
_FRUITLESS = 8  # shapes learnt in a row that fitted nothing; then the stream has none
_LONG = 4096  # bytes of an event; one like it is not worth waiting for


class Relay:
    """A streamed reply. Iterate it for bytes; whoever has it closes it.

    Attributes:
        broken: it ended with an error: the connection must close after the last byte.
        ended: what was given out last was the last of it.
    """

    _sign_of_life = _KEEP_ALIVE

    def __init__(
        self, upstream: EngineReply, exchange: Exchange, *, hide_usage: bool, on_close: Callable[["Relay"], None]
    ) -> None:
        self.broken = False
        self.ended = False
        self._upstream = upstream
        self._exchange = exchange
        exchange.answer = self
        self._hide_usage = hide_usage
        self._on_close = on_close
        self._splitter = Splitter()
        self._first = b""
        self._shape: TokenShape | None = None
        self._fruitless = 0  # tries to learn it since it last fitted
        self._open: set[int] = set()  # choices that were begun and have no finish reason yet
        self._finished = False  # a finish reason was seen
        self._done = False  # `[DONE]` was passed on
        self._tail_read = False
        self._error_seen = False  # the engine itself sent an error event
        self._content = 0  # chunks with content, the estimate when the engine never reports usage
        self._interruption: GatewayError | None = None
        self._problem: UpstreamError | GatewayError | None = None  # met while pumping
        self._looked = 0  # bytes that had been given out when somebody looked last

    async def prime(self) -> None:
        """Wait for the first event, while a failure can still be answered with a real status.

        Raises:
            GatewayError: the stream was over before it began.
        """
        try:
            self._first = await self._next_bytes()
        except (UpstreamError, GatewayError) as error:
            raise self._told(error) from error
        if self._interruption is not None:
            raise self._interruption
        if not self._first:
            raise self._bad_end()

    @property
    def tokens(self) -> int:
        """Chunks with content so far, which is about as many tokens."""
        return self._content

    def interrupt(self, error: GatewayError) -> None:
        """End the stream with an error event now (the server, or the model's process, is going away)."""
        self._interruption = error
        self._upstream.interrupt()

    def __aiter__(self) -> "Relay":
        return self

    async def __anext__(self) -> bytes:
        if self._first:
            out, self._first = self._first, b""
            return self._sent(out)
        if self.ended:
            raise StopAsyncIteration
        try:
            if self._problem is not None:
                raise self._problem
            out = await self._next_bytes()
        except (UpstreamError, GatewayError) as error:
            return self._break(self._told(error))
        if self._interruption is not None:
            return self._break(self._interruption)
        return self._sent(out) if out else self._end()

    async def pump(self, offer: Callable[[bytes], bool]) -> None:
        """Give pieces to `offer` as they come, while it takes them and nothing else happens.

        It returns when `offer` has returned False, and at the end of the stream or when something went wrong; then
        iterating goes on where this stopped.
        """
        if self._first or self.ended or self._interruption is not None:
            return

        def taken(data: bytes) -> bool:
            if self._is_next_token(data):
                return offer(data)
            run = self._splitter.feed(data)
            out = self._looked_through(run) if run else b""
            return not out or (offer(self._sent(out)) and not self.ended)

        try:
            await self._upstream.pump(taken)
        except (UpstreamError, GatewayError) as error:
            self._problem = error

    def _told(self, error: UpstreamError | GatewayError) -> GatewayError:
        """What the client is told about an error; a guardrail's is one already."""
        if self._interruption is not None:
            return self._interruption
        return error if isinstance(error, GatewayError) else in_gateway_terms(error, self._exchange.target)

    def _is_next_token(self, data: bytes) -> bool:
        """Whether a read brought one more token like those before and nothing else, as nearly all do; it is counted."""
        shape = self._shape
        if shape is None or self._splitter.pending or not shape.is_one(data):
            return False
        self._fruitless = 0
        self._open.add(shape.index)
        self._content += 1  # not the first one: the shape was learnt from an earlier one
        self._exchange.bytes_out += len(data)
        return True

    def keep_alive(self) -> bytes:
        """A sign of life in place of an event, where there was none since the last call; it counts as nothing sent."""
        looked, self._looked = self._looked, self._exchange.bytes_out
        return self._sign_of_life if looked == self._looked and not self.ended else b""

    def _sent(self, out: bytes) -> bytes:
        self._exchange.phase = "streaming"
        self._exchange.bytes_out += len(out)
        if self._done and not self.ended:
            self.ended = True
            self._estimate()
            self._settle_end()
        return out

    def _settle_end(self) -> None:
        self._exchange.done(200)

    def _end(self) -> bytes:
        """The engine's body is over without `[DONE]`: is that a good end?"""
        if self._error_seen:
            self.ended = self.broken = True
            self._exchange.failed(
                GatewayError("backend_died", "the engine reported an error in its stream"), status=200
            )
            raise StopAsyncIteration
        if self._finished and not self._open and not self._splitter.pending:
            self._done = True
            return self._sent(self._closing())
        return self._break(self._bad_end())

    def _closing(self) -> bytes:
        """What ends a good stream."""
        return _DONE_EVENT

    def _error_event(self, error: GatewayError) -> bytes:
        return error_event(error, self._exchange.request_id)

    def _break(self, error: GatewayError) -> bytes:
        self.ended = self.broken = True
        self._estimate()
        self._exchange.failed(error, status=200)
        return self._sent(self._error_event(error))

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
            if self._interruption is not None or not (data := await self._upstream.receive()):
                return b""
            if (run := self._splitter.feed(data)) and (out := self._looked_through(run)):
                return out

    def _looked_through(self, run: bytes) -> bytes:
        """What the client may see of a run of events."""
        shape = self._shape
        if shape is not None:
            tokens = 1 if shape.is_one(run) else shape.tokens(run) if len(run) >= _FLOOD else None
            if tokens is not None:
                self._fruitless = 0
                self._open.add(shape.index)
                self._count(tokens)
                return run
        events = [event for event in cut(run) if self._wanted(event)]
        if events:
            self._learn(events[-1])
        return b"".join(events)

    def _learn(self, event: bytes) -> None:
        """Take the shape of what comes from an event, while that seems to pay."""
        if self._content and self._fruitless < _FRUITLESS and len(event) < _LONG and not self._done:
            self._fruitless += 1
            data = data_of(event)
            self._shape = shape_of(data, peek(data)) or self._shape

    def _wanted(self, event: bytes) -> bool:
        """Look at one event; False when the client must not see it."""
        data = data_of(event)
        if is_done(data):
            # After nothing at all, or after an error of the engine, it would look like success.
            self._done = not self._error_seen and (self._finished or self._content > 0)
            return self._done
        chunk = peek(data)
        if chunk.pieces:
            self._count(1)
        self._open.update(chunk.open)
        if chunk.ended:
            self._open.difference_update(chunk.ended)
            self._finished = True
            self._exchange.finish = chunk.finish
        if chunk.error:
            self._error_seen = True
        if chunk.usage is not None:
            self._exchange.usage = chunk.usage
            return not (self._hide_usage and chunk.usage_only)
        return True

    def _count(self, tokens: int) -> None:
        if tokens:
            if not self._content:
                self._exchange.token_seen()
            self._content += tokens

    def _estimate(self) -> None:
        if self._exchange.usage == Usage() and self._content:
            self._exchange.usage = Usage(output=self._content + self._exchange.swallowed, estimated=True)

    def close(self) -> bool:
        """As `aclose`, where there is nothing to wait for; whether that is so."""
        self._settle()
        return self._upstream.ended

    async def aclose(self) -> None:
        """Close the upstream, which is how an engine learns to stop, and settle the account."""
        self._settle()
        if self._done and not self._tail_read and not self._upstream.ended:
            self._tail_read = True
            # The end of the body follows at once; reading it keeps the connection for the next request.
            with trio.move_on_after(_TAIL_SECONDS), contextlib.suppress(UpstreamError):
                await self._upstream.receive()
        await self._upstream.aclose()

    def _settle(self) -> None:
        if not self._exchange.settled:
            self._estimate()
            self._exchange.client_left()
        self._on_close(self)
