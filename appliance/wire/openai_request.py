"""The body of an OpenAI request: what we need to know of it, and what the engine gets.

Members that the API names are checked for type, role and range; an engine's own parameters pass unseen. Values stay
undecoded bytes unless their content matters, so a body with a megabyte of images costs one scan.

A body is first read as one that has nothing wrong with it, all checks in the decoder's one pass. Only what that refuses
is read again, member by member, to say what is wrong; the careful reading alone decides what is refused.
"""

import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from appliance.domain.calls import Call, Operation
from appliance.errors import GatewayError

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_LONGEST_MODEL = 512  # characters; the name comes back in error messages and log lines
_INDEXES = re.compile(r"at `\$((?:\[\d+\])+)")
_NOTHING = re.compile(rb'|null|""|\[\s*\]')
_FIRST_ITEM = re.compile(rb"\[\s*(.)")
_ASKS_FOR_USAGE = b',"stream_options":{"include_usage":true}}'
_T = TypeVar("_T")
_INPUT = {Operation.CHAT: "messages", Operation.COMPLETION: "prompt", Operation.EMBEDDING: "input"}


class _SoundMessage(msgspec.Struct, gc=False):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: msgspec.Raw = msgspec.Raw()


class _StreamOptions(msgspec.Struct, gc=False):
    include_usage: bool | None = None


class _Sound(msgspec.Struct, gc=False):
    """What every body must have, and what it may have."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=_LONGEST_MODEL)]
    request_id: str | msgspec.UnsetType | None = msgspec.UNSET


class _SoundGeneration(_Sound, gc=False):
    stream: bool | None = None
    stream_options: _StreamOptions | msgspec.UnsetType | None = msgspec.UNSET
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None


class _SoundChat(_SoundGeneration, kw_only=True, gc=False):
    messages: Annotated[list[_SoundMessage], msgspec.Meta(min_length=1)]


class _SoundCompletion(_SoundGeneration, kw_only=True, gc=False):
    prompt: msgspec.Raw


class _SoundEmbedding(_Sound, kw_only=True, gc=False):
    input: msgspec.Raw


class _Body(msgspec.Struct):
    """The members that we look at, undecoded; empty when absent."""

    model: msgspec.Raw = msgspec.Raw()
    messages: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    stream: msgspec.Raw = msgspec.Raw()
    stream_options: msgspec.Raw = msgspec.Raw()
    temperature: msgspec.Raw = msgspec.Raw()
    top_p: msgspec.Raw = msgspec.Raw()
    max_tokens: msgspec.Raw = msgspec.Raw()
    max_completion_tokens: msgspec.Raw = msgspec.Raw()
    request_id: msgspec.Raw = msgspec.Raw()


class _Message(msgspec.Struct):
    role: msgspec.Raw = msgspec.Raw()
    content: msgspec.Raw = msgspec.Raw()


_CHAT = msgspec.json.Decoder(_SoundChat)
_COMPLETION = msgspec.json.Decoder(_SoundCompletion)
_EMBEDDING = msgspec.json.Decoder(_SoundEmbedding)
_BODY = msgspec.json.Decoder(_Body)
_MESSAGES = msgspec.json.Decoder(list[_Message])
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
# What the first byte of an array's first element says about the whole array.
_ITEMS: tuple[tuple[bytes, Any, str], ...] = (
    (b'"', list[str], "an array of strings"),
    (b"[", list[list[int]], "an array of arrays of token numbers"),
    (b"-0123456789", list[int], "an array of token numbers"),
)


def parse_call(operation: Operation, body: bytes) -> Call:
    """Read a request.

    Raises:
        GatewayError: `missing_required_parameter` or `invalid_payload`, with `param` naming the field.
    """
    try:
        sound = _sound_call(operation, body)
    except (ValueError, RecursionError):
        sound = None
    return sound or _checked_call(operation, body)


def _sound_call(operation: Operation, body: bytes) -> Call | None:
    """The call of a body with nothing wrong; None or any ValueError when that is not certain."""
    if not body.isascii():
        body.decode()  # the JSON scanner does not look inside the strings that it skips
    if operation is Operation.EMBEDDING:
        embedding = _EMBEDDING.decode(body)
        _require(embedding.input, "input")
        _check_text(embedding.input, "input")
        request_id = embedding.request_id or None
        if embedding.request_id == "" or (request_id and not _REQUEST_ID.fullmatch(request_id)):
            return None
        appendable = embedding.request_id is msgspec.UNSET
        return Call(operation, embedding.model, body, request_id=request_id, appendable=appendable)
    fields: _SoundChat | _SoundCompletion
    if operation is Operation.CHAT:
        fields = chat = _CHAT.decode(body)
        for message in chat.messages:
            # What is not a string or an array may be null, or wrong.
            if len(message.content) and memoryview(message.content)[0] not in b'"[' and not _absent(message.content):
                return None
    else:
        fields = completion = _COMPLETION.decode(body)
        _require(completion.prompt, "prompt")
        _check_text(completion.prompt, "prompt")
    request_id = fields.request_id or None
    if fields.request_id == "" or (request_id and not _REQUEST_ID.fullmatch(request_id)):
        return None
    options = fields.stream_options
    stream = bool(fields.stream)
    wants_usage = stream and isinstance(options, _StreamOptions) and bool(options.include_usage)
    appendable = fields.request_id is msgspec.UNSET and options is msgspec.UNSET
    return Call(operation, fields.model, body, stream, wants_usage, request_id, appendable)


def _checked_call(operation: Operation, body: bytes) -> Call:
    fields = read_json(body, _BODY)
    model = _model(fields.model)
    name = _INPUT[operation]
    value: msgspec.Raw = getattr(fields, name)
    _require(value, name)
    (_check_messages if operation is Operation.CHAT else _check_text)(value, name)
    request_id = _request_id(fields.request_id)
    if operation is Operation.EMBEDDING:
        return Call(operation, model, body, request_id=request_id)
    _check_number(fields.temperature, "temperature", 2)
    _check_number(fields.top_p, "top_p", 1)
    _check_count(fields.max_tokens, "max_tokens")
    _check_count(fields.max_completion_tokens, "max_completion_tokens")
    stream = _flag(fields.stream, "stream")
    return Call(operation, model, body, stream, stream and _wants_usage(fields.stream_options), request_id)


def outgoing_body(call: Call, model: str) -> bytes:
    """What the engine gets: the client's own bytes but for the members that are ours.

    `request_id` is taken out (an engine may use it as its own id), `model` becomes the engine's name for it unless that
    is empty, and a stream is asked for its usage.

    Args:
        call: as parsed; its body is a JSON object.
        model: the name that the engine knows the model by; empty leaves the client's.
    """
    if call.appendable and (not model or model == call.model):
        if not call.stream:
            return call.body
        end = call.body.rindex(b"}")  # a call has at least its model before it
        return b"".join((memoryview(call.body)[:end], _ASKS_FOR_USAGE))
    members = _MEMBERS.decode(call.body)
    changed = members.pop("request_id", None) is not None
    if model and model != call.model:
        members["model"] = msgspec.Raw(msgspec.json.encode(model))
        changed = True
    if call.stream and not call.wants_usage and call.operation is not Operation.EMBEDDING:
        members["stream_options"] = _with_usage(members.get("stream_options"))
        changed = True
    return msgspec.json.encode(members) if changed else call.body


def _with_usage(options: msgspec.Raw | None) -> msgspec.Raw:
    members = {} if options is None or _absent(options) else _MEMBERS.decode(options)
    members["include_usage"] = msgspec.Raw(b"true")
    return msgspec.Raw(msgspec.json.encode(members))


def read_json(body: bytes, decoder: msgspec.json.Decoder[_T]) -> _T:
    """A JSON object whose members are looked at later.

    Raises:
        GatewayError: `invalid_payload`: it is none.
    """
    try:
        body.decode()  # the JSON scanner does not look inside the strings that it skips
        return decoder.decode(body)
    except UnicodeDecodeError as error:
        raise GatewayError("invalid_payload", f"The body is not UTF-8 (byte {error.start}).") from error
    except msgspec.ValidationError as error:
        raise GatewayError("invalid_payload", "The body must be a JSON object.") from error
    except msgspec.DecodeError as error:
        raise GatewayError("invalid_payload", f"The body is not valid JSON: {error}.") from error
    except RecursionError as error:
        raise GatewayError("invalid_payload", "The body is nested too deeply.") from error


def _require(raw: msgspec.Raw, param: str) -> None:
    if _NOTHING.fullmatch(raw):
        raise GatewayError("missing_required_parameter", f"{param!r} is required and must not be empty.", param=param)


def _wrong(param: str, expected: str) -> GatewayError:
    return GatewayError("invalid_payload", f"{param!r} must be {expected}.", param=param)


def _absent(raw: msgspec.Raw) -> bool:
    size = len(raw)
    return not size or (size == 4 and bytes(raw) == b"null")


def _first_byte(raw: msgspec.Raw) -> bytes:
    return bytes(memoryview(raw)[:1])


def _scalar(raw: msgspec.Raw, wanted: type[_T], param: str, expected: str) -> _T | None:
    """A member of a simple type; None when absent or null.

    Raises:
        GatewayError: `invalid_payload`.
    """
    if _absent(raw):
        return None
    try:
        return msgspec.json.decode(raw, type=wanted)
    except ValueError as error:  # msgspec's own errors and broken unicode
        raise _wrong(param, expected) from error


def _model(raw: msgspec.Raw) -> str:
    _require(raw, "model")
    expected = f"a string of at most {_LONGEST_MODEL} characters"
    model = _scalar(raw, str, "model", expected)
    if not model or len(model) > _LONGEST_MODEL:
        raise _wrong("model", expected)
    return model


def _request_id(raw: msgspec.Raw) -> str | None:
    expected = "1 to 128 letters, digits or any of . _ : -"
    value = _scalar(raw, str, "request_id", expected)
    if value is not None and not _REQUEST_ID.fullmatch(value):
        raise _wrong("request_id", expected)
    return value


def _flag(raw: msgspec.Raw, param: str) -> bool:
    return bool(_scalar(raw, bool, param, "true or false"))


def _check_number(raw: msgspec.Raw, param: str, most: int) -> None:
    expected = f"a number from 0 to {most}"
    value = _scalar(raw, float, param, expected)
    if value is not None and not 0 <= value <= most:
        raise _wrong(param, expected)


def _check_count(raw: msgspec.Raw, param: str) -> None:
    expected = "a whole number, 0 or more"
    value = _scalar(raw, int, param, expected)
    if value is not None and value < 0:
        raise _wrong(param, expected)


def _wants_usage(raw: msgspec.Raw) -> bool:
    if not _absent(raw) and _first_byte(raw) != b"{":
        raise _wrong("stream_options", "an object")
    options = _scalar(raw, _StreamOptions, "stream_options.include_usage", "true or false")
    return options is not None and bool(options.include_usage)


def _check_messages(raw: msgspec.Raw, param: str) -> None:
    if _first_byte(raw) != b"[":
        raise _wrong(param, "an array of messages")
    try:
        messages = _MESSAGES.decode(raw)
    except msgspec.ValidationError as error:
        raise _wrong(f"{param}{_index_in(error)}", "an object with a role and content") from error
    for index, message in enumerate(messages):
        _check_role(message.role, f"{param}[{index}].role")
        # A message may have no content at all: an assistant's that only calls tools.
        if not _absent(message.content) and _first_byte(message.content) not in (b'"', b"["):
            raise _wrong(f"{param}[{index}].content", "a string, an array of parts, or null")


def _check_role(raw: msgspec.Raw, param: str) -> None:
    expected = f"one of {', '.join(_ROLES)}"
    if _scalar(raw, str, param, expected) not in _ROLES:
        raise _wrong(param, expected)


def _check_text(raw: msgspec.Raw, param: str) -> None:
    """A string, or a list of strings, of tokens, or of lists of tokens."""
    expected = "a string, or an array of strings, of token numbers or of arrays of token numbers"
    if _first_byte(raw) == b'"':
        return  # the scanner has seen to the rest
    first_item = _FIRST_ITEM.match(raw)
    kind = next((kind for kind in _ITEMS if first_item and first_item[1] in kind[0]), None)
    if kind is None:
        raise _wrong(param, expected)
    try:
        msgspec.json.decode(raw, type=kind[1])
    except msgspec.ValidationError as error:
        where = f"{param}{_index_in(error)}"
        message = f"{param!r} must be {kind[2]}, as its first item is; {where!r} is not one."
        raise GatewayError("invalid_payload", message, param=where) from error


def _index_in(error: msgspec.ValidationError) -> str:
    """Where in an array the fault is, as in "[2]"; empty when that is not known."""
    found = _INDEXES.search(str(error))
    return found[1] if found else ""
