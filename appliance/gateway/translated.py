"""Answers for clients that speak Messages, from engines that speak chat completions."""

from collections.abc import Callable

from appliance.errors import GatewayError, ProtocolViolation
from appliance.gateway.accounting import Exchange
from appliance.gateway.attempts import in_gateway_terms
from appliance.gateway.engine_reply import EngineReply
from appliance.gateway.native import NativeRelay, native
from appliance.gateway.relay import Relay
from appliance.sse import cut, data_of, is_done
from appliance.translate.messages_error import engine_error, error_event
from appliance.translate.messages_reply import to_message
from appliance.translate.messages_stream import PING, MessagesStream

NATIVE = "anthropic-api"  # the engine that speaks Messages itself
_KINDS = {"content": "text", "reasoning": "thinking", "reasoning_content": "thinking"}


def translated(status: int, body: bytes, exchange: Exchange) -> bytes:
    """A whole answer of an engine, or its error, as a Messages client reads it; its usage is noted.

    Raises:
        GatewayError: it is no answer.
    """
    if exchange.engine == NATIVE and not exchange.in_chat:
        return native(status, body, exchange)
    if status >= 300:
        return engine_error(status, body, exchange.request_id)
    if not body:
        message = f"The model server {exchange.target!r} answered with nothing. Try again."
        raise GatewayError("empty_response", message)
    try:
        message_body, usage, exchange.finish = to_message(
            body, message_id(exchange), exchange.request_id, exchange.model
        )
    except ProtocolViolation as error:
        raise in_gateway_terms(error, exchange.target) from error
    exchange.usage = usage or exchange.usage
    return message_body


def messages_relay(upstream: EngineReply, exchange: Exchange, *, on_close: Callable[[Relay], None]) -> Relay:
    """What carries a streamed answer to a Messages client."""
    if exchange.engine == NATIVE and not exchange.in_chat:
        return NativeRelay(upstream, exchange, hide_usage=False, on_close=on_close)
    return TranslatingRelay(upstream, exchange, on_close=on_close)


def message_id(exchange: Exchange) -> str:
    """The id of the one message that an exchange makes."""
    return f"msg_{exchange.internal_id}"


class TranslatingRelay(Relay):
    """A streamed chat answer, given out as the events of a Message."""

    _sign_of_life = PING

    def __init__(self, upstream: EngineReply, exchange: Exchange, *, on_close: Callable[[Relay], None]) -> None:
        super().__init__(upstream, exchange, hide_usage=False, on_close=on_close)
        self._messages = MessagesStream(message_id(exchange), exchange.request_id, exchange.model)

    def _is_next_token(self, data: bytes) -> bool:  # noqa: ARG002
        """No token passes as it is."""
        return False

    def _looked_through(self, run: bytes) -> bytes:
        shape = self._shape
        if shape is not None and (kind := _KINDS.get(shape.member)) and shape.index == 0:
            texts = shape.texts(run)
            out = None if texts is None else self._messages.texts(kind, texts)
            if texts is not None and out is not None:
                self._fruitless = 0
                self._open.add(0)
                self._count(len(texts) - texts.count(b""))
                return out
        events = cut(run)
        out = b"".join([self._event(event) for event in events])
        if events and not is_done(data_of(events[-1])):
            self._learn(events[-1])
        return out

    def _event(self, event: bytes) -> bytes:
        if self._wanted(event):
            data = data_of(event)
            return self._closing() if is_done(data) else self._messages.chunk(data)
        return b""

    def _closing(self) -> bytes:
        if self._messages.gave_up:
            self._done, self._error_seen = False, True
            return self._error_event(GatewayError("backend_died", "The engine gave up on this answer. Try again."))
        return self._messages.finish(self._content)

    def _error_event(self, error: GatewayError) -> bytes:
        return self._messages.close() + error_event(error, self._exchange.request_id)
