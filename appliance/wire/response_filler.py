"""What an engine leaves out of a streamed Responses answer, filled in.

The official clients put a stream together by the numbers in its events: whose piece of text this is (`output_index`,
`content_index`), and in what order (`sequence_number`). llama-server writes none of them, and begins with a response
that has neither a model nor a time nor an output; the helpers of the OpenAI SDKs raise on that, and the AI SDK shows an
empty answer. vLLM writes all of them. What an engine did write is never changed.
"""

import msgspec

from appliance.errors import ProtocolViolation
from appliance.wire.response_event import unlike

_IN_A_PART = ("response.content_part.", "response.output_text.", "response.refusal.", "response.reasoning_text.")
_IN_A_SUMMARY = "response.reasoning_summary_"
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_EMPTY_LIST, _NULL = msgspec.Raw(b"[]"), msgspec.Raw(b"null")
# What the API says of a response that asked for none of it.
_OF_A_RESPONSE = {
    "output": _EMPTY_LIST,
    "error": _NULL,
    "incomplete_details": _NULL,
    "instructions": _NULL,
    "metadata": msgspec.Raw(b"{}"),
    "parallel_tool_calls": msgspec.Raw(b"true"),
    "temperature": _NULL,
    "tool_choice": msgspec.Raw(b'"auto"'),
    "tools": _EMPTY_LIST,
    "top_p": _NULL,
}
_OF_USAGE = {
    "input_tokens_details": msgspec.Raw(b'{"cached_tokens":0}'),
    "output_tokens_details": msgspec.Raw(b'{"reasoning_tokens":0}'),
}

Object = dict[str, msgspec.Raw]


def is_whole(data: bytes) -> bool:
    """Whether the engine numbers its events, judged by one of them; such an engine leaves nothing out."""
    return b'"sequence_number"' in data


def filled_response(response: Object, model: str, created: int) -> Object:
    """A response with the members that the API promises; those that it has stay as they are.

    Args:
        response: as the engine wrote it.
        model: what the client asked for.
        created: Unix seconds.
    """
    own = {"model": _raw(model), "created_at": _raw(created)} | _OF_A_RESPONSE
    filled = response | {name: value for name, value in own.items() if name not in response}
    if bytes(filled.get("usage", _NULL)) != b"null":
        filled["usage"] = _raw(_OF_USAGE | _object(filled["usage"]))
    return filled


def filled_body(body: bytes, model: str, created: int) -> bytes:
    """A whole answer that is a response, in the same way; anything else as it is."""
    try:
        return msgspec.json.encode(filled_response(_object(body), model, created))
    except ProtocolViolation:
        return body


class ResponseFiller:
    """For the events of one stream.

    Args:
        model: what the client asked for.
        created: Unix seconds; when the stream began.
    """

    __slots__ = ("_created", "_items", "_model", "_parts")

    def __init__(self, model: str, created: int) -> None:
        self._model = model
        self._created = created
        self._items: dict[str, int] = {}  # places in the output, by the name of what is there
        self._parts: dict[str, int] = {}  # the last part that was begun, by the name of what it is a part of

    def filled(self, data: bytes, number: int) -> bytes:
        """The data of an event, with what it lacks.

        Args:
            data: JSON.
            number: how many events came before it.

        Raises:
            ProtocolViolation: it is not a JSON object of the shape that the API has.
        """
        event = _object(data)
        kind = _text(event, "type")
        added: Object = {"sequence_number": _raw(number)}
        if "response" in event:
            event["response"] = _raw(filled_response(_object(event["response"]), self._model, self._created))
        if "item" in event:
            item = _object(event["item"])
            name = _text(item, "id") or _text(item, "call_id")
            added["output_index"] = _raw(self._place(name, event))
            if name and "id" not in item:
                event["item"] = _raw({"id": _raw(name)} | item)
        elif "item_id" in event:
            name = _text(event, "item_id")
            added["output_index"] = _raw(self._place(name, event))
            if kind == "response.content_part.added":
                self._parts[name] = self._parts.get(name, -1) + 1
            if kind.startswith(_IN_A_PART):
                added["content_index"] = _raw(self._parts.get(name, 0))
            elif kind.startswith(_IN_A_SUMMARY):
                added["summary_index"] = _raw(0)
        return msgspec.json.encode(event | {name: value for name, value in added.items() if name not in event})

    def _place(self, name: str, event: Object) -> int:
        """Where in the output it is: where the engine says, else where it was first seen."""
        if (said := event.get("output_index")) is not None:
            try:
                return self._items.setdefault(name, msgspec.json.decode(said, type=int))
            except msgspec.DecodeError as error:
                raise unlike(error) from error
        return self._items.setdefault(name, len(self._items))


def _object(data: bytes | msgspec.Raw) -> Object:
    try:
        return _OBJECT.decode(data)
    except (ValueError, RecursionError) as error:
        raise unlike(error) from error


def _text(members: Object, name: str) -> str:
    if name not in members:
        return ""
    try:
        return msgspec.json.decode(members[name], type=str)
    except ValueError as error:
        raise unlike(error) from error


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
