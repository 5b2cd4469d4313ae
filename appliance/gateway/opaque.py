"""Streams that nobody but the client has to understand: audio as it is made, and events of several kinds.

They are whole when the engine ends the body in good order. Where it does not, events end with an error event of ours,
and bytes with a connection that breaks: nothing else would tell a client that half of its audio is missing.
"""

from collections.abc import Callable

from appliance.errors import GatewayError
from appliance.gateway.accounting import Exchange
from appliance.gateway.engine_reply import EngineReply
from appliance.gateway.relay import Relay
from appliance.sse import cut, data_of
from appliance.wire.reply import usage_in


class OpaqueEvents(Relay):
    """Whole events; only those that speak of usage are looked at."""

    def __init__(self, upstream: EngineReply, exchange: Exchange, *, on_close: Callable[[Relay], None]) -> None:
        super().__init__(upstream, exchange, hide_usage=False, on_close=on_close)

    def _looked_through(self, run: bytes) -> bytes:
        events = cut(run)
        if events:
            self._exchange.token_seen()
        for event in events:
            if b'"usage"' in event:
                self._exchange.usage = usage_in(data_of(event)) or self._exchange.usage
        return b"".join(events)

    def _end(self) -> bytes:
        if self._splitter.pending:
            return self._break(self._bad_end())
        self.ended = True
        self._settle_end()
        raise StopAsyncIteration

    def _bad_end(self) -> GatewayError:
        target = self._exchange.target
        if self._exchange.bytes_out == 0:
            return GatewayError("empty_response", f"The model server {target!r} answered with nothing. Try again.")
        return GatewayError("stream_truncated", f"The model server {target!r} ended the stream inside an event.")


class OpaqueBytes(OpaqueEvents):
    """Bytes as they come."""

    _sign_of_life = b""  # it would be heard

    async def pump(self, offer: Callable[[bytes], bool]) -> None:
        """Has nothing to say by itself."""

    async def _next_bytes(self) -> bytes:
        data = b"" if self._interruption is not None else await self._upstream.receive()
        if data:
            self._exchange.token_seen()
        return data

    def _break(self, error: GatewayError) -> bytes:
        self.ended = self.broken = True
        self._exchange.failed(error, status=200)
        raise ConnectionAbortedError(str(error))  # what the doors take for a connection that is over
