"""The body of an OpenAI request for text: what we need to know of it.

Members that the API names are checked for type, role and range; an engine's own parameters pass unseen. Values stay
undecoded bytes unless their content matters, so a body with a megabyte of images costs one scan.

A body is first read as one that has nothing wrong with it, all checks in the decoder's one pass. Only what that refuses
is read again, member by member, to say what is wrong; the careful reading alone decides what is refused.
"""

import re
from typing import Annotated, Any, Generic, Literal, TypeVar, cast

import msgspec

from appliance.domain.calls import Call, Operation
from appliance.errors import GatewayError
from appliance.wire.members import (
    LONGEST_MODEL,
    REQUEST_ID,
    absent,
    check_count,
    check_number,
    clearly_once,
    first_byte,
    flag,
    model_name,
    read_json,
    refuse_crowd,
    request_id_of,
    require,
    scalar,
    wrong,
)
from appliance.wire.watched import Usual, elsewhere, unusual, usual

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_INDEXES = re.compile(r"at `\$((?:\[\d+\])+)")
_AS_ZERO = bytes.maketrans(b"123456789-", b"0" * 10)
_LARGE = 2**16  # bytes of an array of tokens
_MOST_MESSAGES = 100_000  # as many as Anthropic takes; no model has room for them
_FIRST_ITEM = re.compile(rb"\[\s*(.)")
_QUOTE, _BRACKET = b'"['
_INPUT = {Operation.CHAT: "messages", Operation.COMPLETION: "prompt", Operation.EMBEDDING: "input"}


# What `messages` is, for the documents: it is read on its own, and stays bytes in what is read first.
_CONVERSATION = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "object", "required": ["role"], "properties": {"role": {"enum": list(_ROLES)}, "content": {}}},
}


class _SoundMessage(msgspec.Struct, gc=False):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: msgspec.Raw = msgspec.Raw()


class _StreamOptions(msgspec.Struct, gc=False):
    include_usage: bool | None = None


class _Sound(Usual, gc=False):
    """What every body must have, and what it may have."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_MODEL)]
    request_id: str | msgspec.UnsetType | None = msgspec.UNSET


class _SoundGeneration(_Sound, gc=False):
    stream: bool | None = None
    stream_options: _StreamOptions | msgspec.UnsetType | None = msgspec.UNSET
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    n: Annotated[int, msgspec.Meta(ge=1)] | None = None


class _SoundChat(_SoundGeneration, kw_only=True, gc=False):
    messages: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema=_CONVERSATION)]


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
    n: msgspec.Raw = msgspec.Raw()
    request_id: msgspec.Raw = msgspec.Raw()


_S = TypeVar("_S", bound=_Sound)


class _Decoders(Generic[_S]):
    """Of one kind of body: of one with usual members only, and of any."""

    def __init__(self, kind: type[_S]) -> None:
        self.any = msgspec.json.Decoder(kind)
        strict = msgspec.defstruct(kind.__name__, [], bases=(kind,), forbid_unknown_fields=True, gc=False)
        self.usual = msgspec.json.Decoder(cast("type[_S]", strict))


# What the body of a request for an operation is: for whoever describes it.
REQUESTS: dict[Operation, type[msgspec.Struct]] = {
    Operation.CHAT: _SoundChat,
    Operation.COMPLETION: _SoundCompletion,
    Operation.EMBEDDING: _SoundEmbedding,
}
_CHAT = _Decoders(_SoundChat)
_COMPLETION = _Decoders(_SoundCompletion)
_EMBEDDING = _Decoders(_SoundEmbedding)
_BODY = msgspec.json.Decoder(_Body)
_MESSAGES = msgspec.json.Decoder(Annotated[list[_SoundMessage], msgspec.Meta(min_length=1)])
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
    refuse_crowd(body, b'"role"', _MOST_MESSAGES, "messages")
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
        return _sound_embedding(body)
    read: tuple[_SoundGeneration, dict[str, bytes] | None, bool] | None
    read = _sound_chat(body) if operation is Operation.CHAT else _sound_completion(body)
    if read is None:
        return None
    fields, watched, plain = read
    request_id = fields.request_id or None
    if fields.request_id == "" or (request_id and not REQUEST_ID.fullmatch(request_id)):
        return None
    options = fields.stream_options
    stream = bool(fields.stream)
    wants_usage = stream and isinstance(options, _StreamOptions) and bool(options.include_usage)
    appendable = fields.request_id is msgspec.UNSET and options is msgspec.UNSET
    most = _most_output(fields.max_tokens, fields.max_completion_tokens, fields.n)
    if fields.n is not None and fields.n > 1:
        watched = _with(watched, {"n": str(fields.n).encode()})
    return Call(
        operation,
        fields.model,
        body,
        stream,
        wants_usage,
        request_id,
        most,
        appendable,
        watched=watched,
        plain=plain,
    )


def _sound_chat(body: bytes) -> tuple[_SoundChat, dict[str, bytes] | None, bool] | None:
    chat, watched = _read(_CHAT, body)
    if not clearly_once(body, (b'"messages"', chat.messages), (b'"tools"', chat.tools)):
        return None
    remote: dict[str, bytes] = {}
    plain = True
    for index, message in enumerate(_MESSAGES.decode(chat.messages)):
        first = memoryview(message.content)[0] if len(message.content) else _QUOTE
        if first == _BRACKET:
            plain = False
            elsewhere(message.content, f"messages[{index}].content", remote)
        # What is not a string or an array may be null, or wrong.
        elif first != _QUOTE and not absent(message.content):
            return None
    return chat, _with(watched, remote) if remote else watched, plain


def _sound_completion(body: bytes) -> tuple[_SoundCompletion, dict[str, bytes] | None, bool] | None:
    completion, watched = _read(_COMPLETION, body)
    if not clearly_once(body, (b'"prompt"', completion.prompt)):
        return None
    require(completion.prompt, "prompt")
    _check_text(completion.prompt, "prompt")
    return completion, watched, True


def _sound_embedding(body: bytes) -> Call | None:
    embedding, watched = _read(_EMBEDDING, body)
    if not clearly_once(body, (b'"input"', embedding.input)):
        return None
    require(embedding.input, "input")
    _check_text(embedding.input, "input")
    request_id = embedding.request_id or None
    if embedding.request_id == "" or (request_id and not REQUEST_ID.fullmatch(request_id)):
        return None
    appendable = embedding.request_id is msgspec.UNSET
    return Call(
        Operation.EMBEDDING, embedding.model, body, request_id=request_id, appendable=appendable, watched=watched
    )


def _read(decoders: "_Decoders[_S]", body: bytes) -> tuple[_S, dict[str, bytes] | None]:
    """The fields, and what of them is to be judged; a second pass where there are others than the usual ones."""
    try:
        fields = decoders.usual.decode(body)
    except msgspec.ValidationError:
        return decoders.any.decode(body), unusual(body)
    return fields, usual(fields)


def _with(known: dict[str, bytes] | None, more: dict[str, bytes] | None) -> dict[str, bytes] | None:
    return known | more if known and more else known or more


def _most_output(max_tokens: int | None, max_completion_tokens: int | None, n: int | None) -> int | None:
    """Engines differ in which of the two names they heed, so the larger one counts."""
    most = max_tokens if max_completion_tokens is None else max(max_completion_tokens, max_tokens or 0)
    return most if most is None or n is None else most * n


def _checked_call(operation: Operation, body: bytes) -> Call:
    fields = read_json(body, _BODY)
    model = model_name(fields.model)
    name = _INPUT[operation]
    value: msgspec.Raw = getattr(fields, name)
    require(value, name)
    (_check_messages if operation is Operation.CHAT else _check_text)(value, name)
    request_id = request_id_of(fields.request_id)
    if operation is Operation.EMBEDDING:
        return Call(operation, model, body, request_id=request_id, watched=unusual(body))
    check_number(fields.temperature, "temperature", 2)
    check_number(fields.top_p, "top_p", 1)
    most = _most_output(
        check_count(fields.max_tokens, "max_tokens"),
        check_count(fields.max_completion_tokens, "max_completion_tokens"),
        _choices(fields.n),
    )
    stream = flag(fields.stream, "stream")
    wants_usage = stream and _wants_usage(fields.stream_options)
    watched = unusual(body)
    if operation is Operation.CHAT:
        watched = _with(watched, _elsewhere(value))
    return Call(operation, model, body, stream, wants_usage, request_id, most, watched=watched)


def _elsewhere(messages: msgspec.Raw) -> dict[str, bytes] | None:
    """Media that is not inline, where the parts are such that it can be told; the rest is for the engine to refuse."""
    found: dict[str, bytes] = {}
    for index, message in enumerate(_MESSAGES.decode(messages)):
        if first_byte(message.content) == b"[":
            where = f"messages[{index}].content"
            try:
                elsewhere(message.content, where, found)
            except ValueError as error:
                raise wrong(where, "a string, an array of parts, or null") from error
    return found or None


def _choices(raw: msgspec.Raw) -> int | None:
    """How many answers are wanted; whether that is a sensible number is for the engine to say."""
    try:
        value = scalar(raw, int, "n", "a whole number")
    except GatewayError:
        return None
    return value if value and value > 0 else None


def _wants_usage(raw: msgspec.Raw) -> bool:
    if not absent(raw) and first_byte(raw) != b"{":
        raise wrong("stream_options", "an object")
    options = scalar(raw, _StreamOptions, "stream_options.include_usage", "true or false")
    return options is not None and bool(options.include_usage)


def _check_messages(raw: msgspec.Raw, param: str) -> None:
    if first_byte(raw) != b"[":
        raise wrong(param, "an array of messages")
    try:
        messages = _MESSAGES.decode(raw)
    except msgspec.ValidationError as error:
        where, words = f"{param}{_index_in(error)}", str(error)
        if ".role`" in words or "field `role`" in words:
            raise wrong(f"{where}.role", f"one of {', '.join(_ROLES)}") from error
        raise wrong(where, "an object with a role and content") from error
    for index, message in enumerate(messages):
        # A message may have no content at all: an assistant's that only calls tools.
        if not absent(message.content) and first_byte(message.content) not in (b'"', b"["):
            raise wrong(f"{param}[{index}].content", "a string, an array of parts, or null")


def _check_text(raw: msgspec.Raw, param: str) -> None:
    """A string, or a list of strings, of tokens, or of lists of tokens."""
    expected = "a string, or an array of strings, of token numbers or of arrays of token numbers"
    if first_byte(raw) == b'"':
        return  # the scanner has seen to the rest
    first_item = _FIRST_ITEM.match(raw)
    kind = next((kind for kind in _ITEMS if first_item and first_item[1] in kind[0]), None)
    if kind is None:
        raise wrong(param, expected)
    if len(raw) > _LARGE and _all_numbers(bytes(raw)):
        return
    try:
        msgspec.json.decode(raw, type=kind[1])
    except msgspec.ValidationError as error:
        where = f"{param}{_index_in(error)}"
        message = f"{param!r} must be {kind[2]}, as its first item is; {where!r} is not one."
        raise GatewayError("invalid_payload", message, param=where) from error


def _all_numbers(raw: bytes) -> bool:
    """Whether a sound array has whole numbers only, or arrays of them only, found without making a million objects."""
    signs = raw.translate(_AS_ZERO, b" \t\r\n")
    brackets = signs.translate(None, b"0,")
    inner = len(brackets) // 2 - 1
    return brackets == b"[" + b"[]" * inner + b"]" and b"],0" not in signs and (inner == 0 or signs[1:2] == b"[")


def _index_in(error: msgspec.ValidationError) -> str:
    """Where in an array the fault is, as in "[2]"; empty when that is not known."""
    found = _INDEXES.search(str(error))
    return found[1] if found else ""
