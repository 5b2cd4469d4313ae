"""A streamed Responses answer: its own events, passed on as they come, and its own way to end."""

from collections.abc import Callable

from appliance.errors import GatewayError
from appliance.gateway.accounting import Exchange
from appliance.gateway.engine_reply import EngineReply
from appliance.gateway.relay import Relay
from appliance.sse import cut, data_of, is_done
from appliance.wire.response_event import peek_response, response_error_event


class ResponsesRelay(Relay):
    """Ends well with `response.completed`, `.incomplete` or `.failed`; there is no `[DONE]`, and none is passed on."""

    def __init__(self, upstream: EngineReply, exchange: Exchange, *, on_close: Callable[[Relay], None]) -> None:
        super().__init__(upstream, exchange, hide_usage=False, on_close=on_close)
        self._events = 0
        self._failed = False

    def _looked_through(self, run: bytes) -> bytes:
        wanted = []
        for event in cut(run):
            if self._done:  # nothing may follow the last event
                break
            if self._wanted(event):
                wanted.append(event)
        self._events += len(wanted)
        return b"".join(wanted)

    def _wanted(self, event: bytes) -> bool:
        name = event[: event.find(b"\n")]
        if name.startswith(b"event:") and name.endswith(b".delta"):  # nearly all are
            self._count(1)
            return True
        data = data_of(event)
        if is_done(data):
            return False
        seen = peek_response(data)
        if seen.brings:
            self._count(1)
        if seen.usage is not None:
            self._exchange.usage = seen.usage
        self._done = seen.last
        self._failed = seen.last and seen.failed
        self._error_seen = seen.failed and not seen.last
        return True

    def _settle_end(self) -> None:
        self._exchange.done(200, "backend_error" if self._failed else "ok")

    def _error_event(self, error: GatewayError) -> bytes:
        return response_error_event(error, self._exchange.request_id, self._events)
