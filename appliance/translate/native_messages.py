"""Messages for the provider that speaks them: the client's own bytes, but for what is ours.

Thoughts keep their signatures, the provider's own tools and documents work, and what is new there needs no new version
here. Only what has to be known for the accounts is looked at.
"""

from typing import Any

import msgspec

from appliance.domain.calls import Call, Operation, Usage
from appliance.errors import ProtocolViolation
from appliance.translate.anthropic_reply import MessageUsage
from appliance.translate.messages_request import DEFAULT_MAX_TOKENS, Translated, read_messages
from appliance.wire.members import MEMBERS, absent, model_name, read_json, request_id_of, require, scalar, wrong

_TURNS = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_CONTENT = msgspec.json.Decoder(str | list[msgspec.Raw])


class _Request(msgspec.Struct):
    """What is looked at before it is passed on; the provider judges the rest."""

    model: msgspec.Raw = msgspec.Raw()
    messages: msgspec.Raw = msgspec.Raw()
    stream: msgspec.Raw = msgspec.Raw()
    request_id: msgspec.Raw = msgspec.Raw()


class _Event(msgspec.Struct, gc=False):
    type: str
    index: int = 0
    message: "_Message | None" = None
    usage: MessageUsage | None = None
    delta: "_Delta | None" = None


class _Delta(msgspec.Struct, gc=False):
    stop_reason: str | None = None


class _Message(msgspec.Struct, gc=False):
    usage: MessageUsage | None = None
    stop_reason: str | None = None


_REQUEST = msgspec.json.Decoder(_Request)
_EVENT = msgspec.json.Decoder(_Event)
_MESSAGE = msgspec.json.Decoder(_Message)


class Native:
    """A request for Anthropic itself: put in chat terms only where guardrails have to look at its answer."""

    assumed: frozenset[str] = frozenset()
    problem = None

    def __init__(self, body: bytes) -> None:
        self._body = body

    def chat_body(self, engine: str, model: str) -> bytes:
        """The body of the chat request.

        Raises:
            GatewayError: it has none: it uses what Anthropic alone has.
        """
        return Translated(read_messages(self._body)).chat_body(engine, model)

    def as_amended(self, body: bytes) -> bytes:
        """Nobody amends a request that has its caller's own key."""
        return body


def parse_native(operation: Operation, body: bytes) -> Call:
    """Read a Messages request that is meant for Anthropic itself.

    Raises:
        GatewayError: `missing_required_parameter` or `invalid_payload`, with `param` naming the field.
    """
    fields = read_json(body, _REQUEST)
    model = model_name(fields.model)
    require(fields.messages, "messages")
    try:
        _TURNS.decode(fields.messages)
    except (ValueError, RecursionError) as error:
        raise wrong("messages", "an array of messages") from error
    stream = scalar(fields.stream, bool, "stream", "true or false")
    request_id = request_id_of(fields.request_id)
    return Call(operation, model, body, bool(stream), request_id=request_id, foreign=Native(body))


def native_body(body: bytes, model: str, *, counted: bool = False) -> bytes:
    """What Anthropic gets: as the client sent it, with the provider's name of the model and without our own members.

    A turn of the role system becomes the user's, as everywhere here, and `max_tokens` has our default.

    Args:
        body: a JSON object with messages.
        model: the provider's name for the model.
        counted: only the tokens shall be counted, for which there is no `max_tokens`.
    """
    members = MEMBERS.decode(body)
    members.pop("request_id", None)
    members["model"] = _raw(model)
    if not counted and absent(members.get("max_tokens", msgspec.Raw())):
        members["max_tokens"] = _raw(DEFAULT_MAX_TOKENS)
    turns = _TURNS.decode(members["messages"])
    if any(bytes(turn.get("role", b"")) == b'"system"' for turn in turns):
        members["messages"] = _raw(_of_two_roles(turns))
    return msgspec.json.encode(members)


def _of_two_roles(turns: list[dict[str, msgspec.Raw]]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for turn in turns:
        role = bytes(turn.get("role", b"")).decode().strip('"')
        role = "user" if role == "system" else role
        if not out or out[-1]["role"] != role:
            out.append(turn | {"role": role})
        else:
            out[-1]["content"] = _blocks(out[-1].get("content")) + _blocks(turn.get("content"))
    return out


def _blocks(content: Any) -> list[Any]:
    if isinstance(content, list):
        return content
    try:
        value = _CONTENT.decode(content or b"[]")
    except msgspec.ValidationError:
        return []
    return [{"type": "text", "text": value}] if isinstance(value, str) else list(value)


def told_by_message(body: bytes) -> tuple[Usage | None, str]:
    """The token counts of a whole Message, None when it has none, and why it ended.

    Raises:
        ProtocolViolation: it is not a JSON object.
    """
    try:
        message = _MESSAGE.decode(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolViolation(f"the answer is not a Message: {error}") from error
    return message.usage.as_usage() if message.usage else None, message.stop_reason or ""


class Seen(msgspec.Struct, frozen=True, gc=False):
    """What one event of a Messages stream says that the accounts need.

    Attributes:
        type: the event's.
        index: of its block.
        usage: the counts so far, if it has some.
        finish: why the answer ended; "" where it does not say.
    """

    type: str
    index: int
    usage: Usage | None
    finish: str = ""


def look(data: bytes, before: Usage) -> Seen:
    """Look at the data of one event; `before` is what was counted so far.

    Raises:
        ProtocolViolation: it is not an event of a Messages stream.
    """
    try:
        event = _EVENT.decode(data)
    except (ValueError, RecursionError) as error:
        raise ProtocolViolation(f"an event of the stream is not one of Messages: {error}") from error
    count = event.usage or (event.message.usage if event.message else None)
    finish = (event.delta.stop_reason if event.delta is not None else None) or ""
    return Seen(event.type, event.index, count.as_usage(before) if count else None, finish)


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
