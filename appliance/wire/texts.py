"""Where the texts of a body are, for those who have to look at them, and how a body is written again with others.

In a request every string counts as text, whatever the member is called: an engine may put any of them before its
model. Left out are those that are none (names of models, ids, media) and words of a closed list (roles, types).
In an answer it is the other way round: what is not known to be a text or to hold none is taken out, because it may
repeat the text (the tokens of `logprobs`, an engine's own debugging).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from appliance.errors import GatewayError

# Members of a request that no model reads.
_NOT_READ = frozenset(
    {
        "model",
        "request_id",
        "user",
        "metadata",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "service_tier",
        "stop",
        "stop_sequences",
        "previous_response_id",
        "encoding_format",
    }
)
_TOKENS = ("prompt", "input", "prompt_token_ids")  # may be numbers of tokens instead of text
_OPAQUE = ("prompt_embeds", "prompt_token_ids")
_IDS = frozenset({"id", "tool_call_id", "tool_use_id", "call_id", "item_id", "signature", "encrypted_content"})
_ID = re.compile(r"[A-Za-z0-9_.:/+=-]*")
_MEDIA_TYPE = re.compile(r"[a-z]{1,20}/[a-z0-9.+-]{1,60}")
_CLOSED = frozenset({"role", "type", "format", "detail"})
_CLOSED_WORDS = """
    system developer user assistant tool function custom text image image_url input_audio input_text input_image
    input_file output_text refusal file video_url audio_url document tool_use tool_result thinking redacted_thinking
    search_result tool_reference ephemeral message reasoning function_call function_call_output json_object
    json_schema base64 url content auto low high wav mp3 object string number integer boolean array null
"""
_WORDS = frozenset(_CLOSED_WORDS.split())
_IN_PARTS = frozenset({"content", "system", "output"})  # may be lists of parts, with a `text` each
_MEDIA = ("url", "image_url", "file_data", "file_url")
# Members whose own members are named by the client; their names are texts as well.
_FREE = frozenset({"parameters", "input_schema", "schema", "json_schema", "arguments", "input", "chat_template_kwargs"})
_SCHEMA_WORDS = """
    type properties required items description enum const default title format pattern anyOf oneOf allOf not
    additionalProperties minimum maximum minLength maxLength minItems maxItems uniqueItems examples name schema strict
    $ref $defs definitions $schema
"""
_SCHEMA = frozenset(_SCHEMA_WORDS.split())
_TOP_WORDS = "id object created model system_fingerprint service_tier usage timings error request_id provider choices"
TOP = frozenset(_TOP_WORDS.split())
CHOICE = frozenset({"index", "finish_reason", "stop_reason", "matched_stop", "native_finish_reason"})
_SAYS_NOTHING = frozenset(
    {"type", "id", "item_id", "call_id", "status", "role", "object", "model", "phase", "task", "encrypted_content"}
)
PLAIN = ("reasoning", "reasoning_content", "content", "refusal")  # texts of a message, in the order of their making
_CALL = frozenset({"index", "id", "type", "extra_content"})  # the last one is Gemini's signature of its thoughts


class _Format(msgspec.Struct):
    type: str = ""


class _OutputConfig(msgspec.Struct):
    format: _Format | None = None


class _Asked(msgspec.Struct):
    response_format: _Format | None = None
    output_config: _OutputConfig | None = None
    text: _OutputConfig | None = None


_ASKED = msgspec.json.Decoder(_Asked)
_MOST_MEMBERS = 50_000
_TOO_MANY = f"The request has more than {_MOST_MEMBERS:,} members, and a guardrail of this model has to look at each."
_EXACT = msgspec.json.Decoder(float_hook=lambda digits: msgspec.Raw(digits.encode()))
_ANY = msgspec.json.Decoder()


@dataclass(frozen=True, slots=True)
class Text:
    """One text of a body.

    Attributes:
        holder: the table or list that it stands in.
        key: where.
        json: it is JSON itself.
        is_key: the text is the key.
        parts: the content that it is a part of; with the other texts of that it reaches the model as one.
    """

    holder: Any
    key: Any
    json: bool = False
    is_key: bool = False
    parts: Any = None

    @property
    def value(self) -> str:
        """The text."""
        text: str = self.key if self.is_key else self.holder[self.key]
        return text

    def replace(self, text: str) -> None:
        """Put another one in its place."""
        if not self.is_key:
            self.holder[self.key] = text
            return
        items = [(text if key == self.key else key, value) for key, value in self.holder.items()]
        self.holder.clear()
        self.holder.update(items)


def request_object(body: bytes) -> dict[str, Any]:
    """The object of a request that was parsed before; numbers stay as they were written.

    Raises:
        GatewayError: `invalid_payload`: a string of it is no text.
    """
    try:
        value: dict[str, Any] = _EXACT.decode(body)
    except (ValueError, RecursionError) as error:
        raise GatewayError("invalid_payload", f"The body cannot be read as a whole: {error}.") from error
    return value


def request_texts(request: dict[str, Any]) -> list[Text]:
    """Every text of a request, in its order; the names of members last.

    Raises:
        GatewayError: `invalid_payload`: it holds numbers of tokens instead of text, which cannot be looked at, or so
            many members that looking at them would hold up others.
    """
    for name in _TOKENS:
        if _has_numbers(request.get(name)):
            raise _unreadable(name)
    for name in _OPAQUE:
        if request.get(name) is not None:
            raise _unreadable(name)
    texts: list[Text] = []
    keys: list[Text] = []
    for holder, key, free, parts in _members(request):
        value = holder[key]
        if isinstance(value, str):
            if value and not _no_text(holder, key, value, free=free):
                texts.append(Text(holder, key, json=key == "arguments", parts=parts if key == "text" else None))
        elif isinstance(value, dict) and (free or key in _FREE):
            keys += [Text(value, name, is_key=True) for name in value if name not in _SCHEMA]
    return texts + keys


def as_read(texts: Iterable[Text]) -> list[list[Text]]:
    """The texts, those together that reach the model as one; whatever lies between them, as engines may move that."""
    groups: dict[int, list[Text]] = {}
    for text in texts:
        groups.setdefault(id(text if text.parts is None else text.parts), []).append(text)
    return list(groups.values())


def _members(request: dict[str, Any]) -> Iterator[tuple[Any, Any, bool, Any]]:
    """Holder and key of everything in a request, in its order; whether it is inside what clients name freely; and the
    content whose part it is a member of.
    """
    waiting: list[tuple[Any, Any, bool, Any]] = [(request, name, False, None) for name in reversed(request)]
    seen = 0
    while waiting:
        holder, key, free, parts = waiting.pop()
        if holder is request and key in _NOT_READ:
            continue
        yield holder, key, free, parts
        value = holder[key]
        if isinstance(value, list | dict):
            seen += len(value)
            if seen > _MOST_MEMBERS:
                raise GatewayError("invalid_payload", _TOO_MANY)
            free = free or (isinstance(value, dict) and key in _FREE)
            places = range(len(value)) if isinstance(value, list) else value
            if isinstance(value, list):
                parts = value if key in _IN_PARTS else None
            elif not isinstance(holder, list):
                parts = None
            waiting += [(value, place, free, parts) for place in reversed(places)]


def _no_text(holder: Any, key: Any, value: str, *, free: bool) -> bool:
    if key in _CLOSED and value in _WORDS:
        return True
    if free:  # the client's own names mean nothing to us
        return False
    if (key in _IDS and _ID.fullmatch(value)) or (key == "media_type" and _MEDIA_TYPE.fullmatch(value)):
        return True
    if key in _MEDIA and value.startswith("data:"):
        return True
    return key == "data" and isinstance(holder, dict) and (holder.get("type") == "base64" or "format" in holder)


def _has_numbers(value: object) -> bool:
    first = value[0] if isinstance(value, list) and value else None
    return _has_numbers(first) if isinstance(first, list) else isinstance(first, int)


def _unreadable(name: str) -> GatewayError:
    message = f"{name!r} must be text for this model: a guardrail has to read it, and cannot read tokens."
    return GatewayError("invalid_payload", message, param=name)


def wants_json(body: bytes) -> bool:
    """Whether a request, of any dialect, asks for an answer that is JSON."""
    try:
        asked = _ASKED.decode(body)
    except (ValueError, RecursionError):
        return False
    formats = (asked.response_format, *(config.format for config in (asked.output_config, asked.text) if config))
    return any(wanted is not None and wanted.type in ("json_object", "json_schema") for wanted in formats)


def answer_object(body: bytes) -> dict[str, Any] | None:
    """The object of a whole answer or of a chunk; None when it is none."""
    try:
        value = _ANY.decode(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def answer_texts(answer: dict[str, Any], *, json_content: bool) -> list[Text]:
    """Every text of a whole answer; what may repeat one is taken out of it.

    Args:
        answer: changed in place.
        json_content: the client asked for an answer that is JSON.
    """
    keep(answer, TOP)
    found: list[Text] = []
    choices = answer.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        found += _of_choice(choice, json_content=json_content) if isinstance(choice, dict) else []
    return found


def _of_choice(choice: dict[str, Any], *, json_content: bool) -> Iterator[Text]:
    message, text = choice.get("message"), choice.get("text")
    keep_choice(choice)
    if isinstance(text, str):
        choice["text"] = text
        yield Text(choice, "text")
    if isinstance(message, dict):
        choice["message"] = kept = message_of(message)
        yield from message_texts(kept, json_content=json_content)


def reply_texts(value: dict[str, Any]) -> list[Text]:
    """The texts of an event or of a whole answer of Responses, or of a transcript; what may repeat one is taken out.

    Of a response only its output counts: the rest of it says again what the client sent.
    """
    found: list[Text] = []
    response = value["response"] if isinstance(value.get("response"), dict) else value
    if isinstance(response.get("output"), list):
        _collect_said(response["output"], found)
    if response is value and "output" not in value:
        _collect_said(value, found)
    return found


def _collect_said(value: Any, found: list[Text]) -> None:
    waiting: list[Any] = [value]
    while waiting:
        holder = waiting.pop()
        for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
            item = holder[key]
            if key == "logprobs" and item:
                holder[key] = []
            elif isinstance(item, str) and item and key not in _SAYS_NOTHING:
                found.append(Text(holder, key, json=key == "arguments"))
            elif isinstance(item, dict | list):
                waiting.append(item)


def keep_choice(choice: dict[str, Any]) -> None:
    """Take out of a choice what is not known; `logprobs` stay as null for clients that expect the member."""
    had_logprobs = "logprobs" in choice
    keep(choice, CHOICE)
    if had_logprobs:
        choice["logprobs"] = None


def message_of(message: dict[str, Any]) -> dict[str, Any]:
    """A message or a delta with the known members only."""
    kept = {name: message[name] for name in ("role", *PLAIN) if name in message}
    if isinstance(parts := kept.get("content"), list):
        kept["content"] = [{"type": "text", "text": text} for part in parts if isinstance(text := _part(part), str)]
    if isinstance(calls := message.get("tool_calls"), list):
        kept["tool_calls"] = [_call(call) for call in calls if isinstance(call, dict)]
    if isinstance(call := message.get("function_call"), dict):
        kept["function_call"] = _function(call)
    return kept


def message_texts(message: dict[str, Any], *, json_content: bool) -> Iterator[Text]:
    """The texts of what `message_of` gave."""
    for name in PLAIN:
        value = message.get(name)
        if isinstance(value, str):
            yield Text(message, name, json=json_content and name == "content")
        elif isinstance(value, list):
            yield from (Text(part, "text", parts=value) for part in value)
        elif value is not None:
            del message[name]
    calls = [call["function"] for call in message.get("tool_calls") or () if "function" in call]
    for function in (*calls, *filter(None, (message.get("function_call"),))):
        for name in ("name", "arguments"):
            if isinstance(function.get(name), str):
                yield Text(function, name, json=name == "arguments")


def keep(table: dict[str, Any], names: frozenset[str]) -> None:
    """Take everything else out of a table."""
    for name in [name for name in table if name not in names]:
        del table[name]


def _part(part: object) -> object:
    return part.get("text") if isinstance(part, dict) else None


def _call(call: dict[str, Any]) -> dict[str, Any]:
    kept = {name: call[name] for name in call if name in _CALL}
    if isinstance(function := call.get("function"), dict):
        kept["function"] = _function(function)
    return kept


def _function(function: dict[str, Any]) -> dict[str, Any]:
    return {name: function[name] for name in ("name", "arguments") if isinstance(function.get(name), str)}
