"""Answers of the provider that speaks Messages, for clients that do too: passed on as they are, and accounted."""

import msgspec

from appliance.errors import GatewayError, ProtocolViolation
from appliance.gateway.accounting import Exchange
from appliance.gateway.attempts import in_gateway_terms
from appliance.gateway.relay import Relay
from appliance.sse import cut, data_of
from appliance.translate.messages_error import error_event
from appliance.translate.messages_stream import PING
from appliance.translate.native_messages import look, told_by_message
from appliance.wire.reply import examine


def native(status: int, body: bytes, exchange: Exchange) -> bytes:
    """A whole answer, or an error, with our request id in it; its usage is noted.

    Raises:
        GatewayError: it is no answer.
    """
    if not body:
        raise GatewayError("empty_response", f"The provider {exchange.target!r} answered with nothing. Try again.")
    if status < 300:
        try:
            usage, exchange.finish = told_by_message(body)
            exchange.usage = usage or exchange.usage
        except ProtocolViolation as error:
            raise in_gateway_terms(error, exchange.target) from error
    seen = examine(body, exchange.request_id)
    return body if seen is None else seen[0]


class NativeRelay(Relay):
    """A streamed Message, event for event as it came."""

    _sign_of_life = PING
    _block: int | None = None  # that is open

    def _is_next_token(self, data: bytes) -> bool:  # noqa: ARG002
        """Every event is looked at."""
        return False

    def _looked_through(self, run: bytes) -> bytes:
        return b"".join([event for event in cut(run) if self._wanted(event)])

    def _wanted(self, event: bytes) -> bool:
        if self._done or self._error_seen:
            return False  # nothing comes after the end
        seen = look(data_of(event), self._exchange.usage)
        if seen.usage is not None:
            self._exchange.usage = seen.usage
        if seen.finish:
            self._exchange.finish = seen.finish
        match seen.type:
            case "content_block_start":
                self._block = seen.index
            case "content_block_delta":
                self._count(1)
            case "content_block_stop":
                self._block = None
            case "message_stop":
                self._done = True
            case "error":
                self._error_seen = True
        return True

    def _error_event(self, error: GatewayError) -> bytes:
        closing = b""
        if self._block is not None:
            stop = {"type": "content_block_stop", "index": self._block}
            closing = b"event: content_block_stop\ndata: " + msgspec.json.encode(stop) + b"\n\n"
        return closing + error_event(error, self._exchange.request_id)
