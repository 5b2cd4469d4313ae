"""A streamed Responses answer: its own events, passed on as they come, and its own way to end.

Where an engine leaves out what clients need, it is filled in; see `wire.response_filler`.
"""

import re
from collections.abc import Callable

from appliance.errors import GatewayError
from appliance.gateway.accounting import Exchange
from appliance.gateway.engine_reply import EngineReply
from appliance.gateway.relay import Relay
from appliance.sse import cut, data_of, is_done, with_data
from appliance.wire.response_event import peek_response, response_error_event
from appliance.wire.response_filler import ResponseFiller, is_whole

# Nearly all events of nearly all streams: pieces of text, of thoughts, of arguments.
_DELTAS = re.compile(rb"(?:event: response\.[a-z_.]+\.delta\ndata: \{[^\r\n]*+\n\n)++")


class ResponsesRelay(Relay):
    """Ends well with `response.completed`, `.incomplete` or `.failed`; there is no `[DONE]`, and none is passed on.

    Args:
        upstream: the engine's answer.
        exchange: what it belongs to.
        created: Unix seconds.
        on_close: called when it is over.
    """

    def __init__(
        self, upstream: EngineReply, exchange: Exchange, *, created: int, on_close: Callable[[Relay], None]
    ) -> None:
        super().__init__(upstream, exchange, hide_usage=False, on_close=on_close)
        self._filler: ResponseFiller | None = ResponseFiller(exchange.model, created)
        self._events = 0
        self._failed = False

    def _looked_through(self, run: bytes) -> bytes:
        if self._filler is None and not self._done and _DELTAS.fullmatch(run):
            events = run.count(b"\n\n")
            self._count(events)
            self._events += events
            return run
        wanted: list[bytes] = []
        for event in cut(run):
            if self._done:  # nothing may follow the last event
                break
            data = data_of(event)
            if self._wanted(data):
                wanted.append(self._filled(event, data, self._events + len(wanted)))
        self._events += len(wanted)
        return b"".join(wanted)

    def _filled(self, event: bytes, data: bytes, number: int) -> bytes:
        if number == 0 and is_whole(data):
            self._filler = None
        return event if self._filler is None else with_data(event, self._filler.filled(data, number))

    def _wanted(self, data: bytes) -> bool:
        if is_done(data):
            return False
        seen = peek_response(data)
        if seen.brings:
            self._count(1)
        if seen.usage is not None:
            self._exchange.usage = seen.usage
        self._done = seen.last
        self._exchange.finish = seen.finish
        self._failed = seen.last and seen.failed
        self._error_seen = seen.failed and not seen.last
        return True

    def _settle_end(self) -> None:
        self._exchange.done(200, "backend_error" if self._failed else "ok")

    def _error_event(self, error: GatewayError) -> bytes:
        return response_error_event(error, self._exchange.request_id, self._events)
