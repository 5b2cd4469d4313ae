"""Realtime sessions: what is read of a handshake and of the events in between; all else passes as it is.

Source: OpenAI's Realtime API over WebSocket, and vLLM's route of the same path.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec

from appliance.domain.calls import Usage
from appliance.errors import GatewayError
from appliance.wire.error_body import error_members

PROTOCOL = "realtime"
# Browsers cannot set a header, so that their key comes as the name of a protocol.
_KEY = "openai-insecure-api-key."
_UPDATE = '"session.update"'
_NORMAL, _NO_CODE, _FAILED = 1000, 1005, 1011
_BROKEN = {1002, 1006, 1007, 1011, 1012, 1013, 1014, 1015}  # the engine's fault; others tell the client something
_MAY_BE_SENT = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014}
_LONGEST_REASON = 123  # bytes, by RFC 6455
_OBJECT = msgspec.json.Decoder(dict[str, Any])


class _Count(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Response(msgspec.Struct):
    usage: _Count | None = None


class _Event(msgspec.Struct):
    response: _Response | None = None
    usage: _Count | None = None


_EVENT = msgspec.json.Decoder(_Event)


def asked_for(query: str) -> tuple[str, list[tuple[str, str]]]:
    """The model, and what else the query holds."""
    pairs = parse_qsl(query, keep_blank_values=True)
    return dict(pairs).get("model", ""), [pair for pair in pairs if pair[0] != "model"]


def path_for(path: str, model: str, more: Sequence[tuple[str, str]]) -> str:
    """The path at which an engine is asked for a session with a model."""
    return f"{path}?{urlencode([('model', model), *more])}"


def key_of(protocols: Sequence[str]) -> str | None:
    """The key that a browser hides among the protocols that it offers."""
    return next((name.removeprefix(_KEY) for name in protocols if name.startswith(_KEY)), None)


def renamed(message: str, public: str, name: str) -> str:
    """A message to the engine, where the model is called by the engine's own name."""
    if _UPDATE not in message or public == name:
        return message
    try:
        event = _OBJECT.decode(message)
    except (ValueError, RecursionError):
        return message  # what that is, the engine will say
    if event.get("type") != "session.update":
        return message
    places = [event, event["session"]] if isinstance(event.get("session"), dict) else [event]
    for place in places:
        if place.get("model") == public:
            place["model"] = name
    return msgspec.json.encode(event).decode()


def usage_of(message: str) -> Usage | None:
    """The tokens that an event of the engine counts; each event counts its own answer alone."""
    if '"usage"' not in message:
        return None
    try:
        event = _EVENT.decode(message)
    except (ValueError, RecursionError):
        return None
    count = event.usage or (event.response.usage if event.response else None)
    if count is None:
        return None
    given = count.input_tokens or count.prompt_tokens or 0
    return Usage(given, count.output_tokens or count.completion_tokens or 0)


def error_event(error: GatewayError, request_id: str) -> str:
    """An error of ours, as the event that clients of this API know."""
    told = error_members(error) | {"event_id": None}
    return msgspec.json.encode({"type": "error", "event_id": f"event_{request_id}", "error": told}).decode()


def closing(code: int, reason: str | None) -> tuple[int, str]:
    """A close code and a reason that may be sent on; what only says that there was none becomes one that does."""
    if code == _NO_CODE:
        code = _NORMAL
    elif code not in _MAY_BE_SENT and not 3000 <= code <= 4999:
        code = _FAILED
    return code, (reason or "").encode()[:_LONGEST_REASON].decode("utf-8", "ignore")


def went_well(code: int) -> bool:
    """Whether a session that an engine closes so is over in good order."""
    return code not in _BROKEN
