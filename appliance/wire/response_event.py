"""One event of a streamed Responses answer: is it the last one, and what did the answer cost?"""

import msgspec

from appliance import sse
from appliance.domain.calls import Usage
from appliance.errors import GatewayError, ProtocolViolation
from appliance.wire.chunk import TokenCount
from appliance.wire.error_body import error_members

_LAST = {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
_FINISH = {"response.completed": "stop", "response.incomplete": "length"}
_BAD = {"response.failed", "response.cancelled"}
_NO_ERROR = (b"", b"null", b"false", b'""', b"{}")


class ResponseEvent(msgspec.Struct, frozen=True, gc=False):
    """What one event says.

    Attributes:
        brings: a piece of text, of reasoning or of a tool call; about a token.
        last: nothing may follow it.
        failed: the engine gave up.
        usage: the engine's count, which the last event has.
        finish: why the answer ended, which the last event says.
    """

    brings: bool = False
    last: bool = False
    failed: bool = False
    usage: Usage | None = None
    finish: str = ""


class _Response(msgspec.Struct, gc=False):
    usage: TokenCount | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    response: _Response | None = None
    error: msgspec.Raw = msgspec.Raw()


_EVENT = msgspec.json.Decoder(_Event)


def peek_response(data: bytes) -> ResponseEvent:
    """Look at the data of one event.

    Raises:
        ProtocolViolation: it is not a JSON object of the shape that the API has.
    """
    try:
        event = _EVENT.decode(data)
    except (ValueError, RecursionError) as error:
        raise unlike(error) from error
    kind = event.type
    if kind.endswith(".delta"):
        return ResponseEvent(brings=True)
    usage = event.response.usage.as_usage() if event.response is not None and event.response.usage else None
    failed = kind in _BAD or kind == "error" or (not kind and bytes(event.error) not in _NO_ERROR)
    return ResponseEvent(last=kind in _LAST, failed=failed, usage=usage, finish=_FINISH.get(kind, ""))


def unlike(error: Exception) -> ProtocolViolation:
    """What it means that an event cannot be read as one of a response."""
    return ProtocolViolation(f"an event of the stream is not one of a response: {error}")


def response_error_event(error: GatewayError, request_id: str, sequence: int) -> bytes:
    """An error of ours inside such a stream, as the API writes one; `error` is what the SDKs raise on.

    Args:
        error: what happened.
        request_id: of the exchange.
        sequence: how many events came before it.
    """
    members = error_members(error)
    body: dict[str, object] = {name: members[name] for name in ("code", "message", "param")}
    body = {"type": "error", **body, "sequence_number": sequence, "error": members, "request_id": request_id}
    return b"event: error\n" + sse.event(msgspec.json.encode(body))
