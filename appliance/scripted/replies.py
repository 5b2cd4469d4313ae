"""What the scripted engine says: the same words for the same request, in every shape of the OpenAI API."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

# A constant, so that two identical requests get identical replies.
CREATED = 1_700_000_000
DONE = b"data: [DONE]\n\n"
DEFAULT_TOKENS = 32
_DIMENSIONS = 8
_PIECE = 3  # characters of a token of a text that was given
_THOUGHTS = 5
_TEXT = """
amber anchor autumn basket beacon bridge candle canyon cedar chapel cloud copper coral desert ember engine
falcon feather forest garden granite harbor hollow island ivory jasper kettle lantern ledger lemon maple marble
meadow mirror morning needle north ocean orchard paper pebble pepper planet quartz quiet raven ribbon river
saddle sailor shadow silver spark stone summer thunder timber tunnel valley velvet violet walnut water willow
winter
"""
_WORDS = tuple(_TEXT.split())


Kind = Literal["chat", "completion"]
Pieces = tuple[str, ...]  # tokens; joined they are the text


@dataclass(frozen=True, slots=True)
class Manner:
    """How the engine answers, whatever it is asked.

    Attributes:
        model: the name to answer with when the request gives none.
        tokens: length of a reply that nothing cuts short.
        thoughts: member in which it thinks before it answers; empty when it does not.
        calls: most tools that it calls at once.
        names_stop: it says which stop string was met, as vLLM does.
        says: the text of its answers; empty for words of its own.
        unsafe_about: it answers as a guard model that finds a request with this text unsafe; empty when it is none.
    """

    model: str = "scripted"
    tokens: int = DEFAULT_TOKENS
    thoughts: str = ""
    calls: int = 1
    names_stop: bool = False
    says: str = ""
    unsafe_about: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """One reply, decided before its first byte.

    Attributes:
        kind: which of the two generating routes asked.
        id: derived from the prompt.
        model: the name the request gave.
        pieces: of the text.
        finish: the `finish_reason`.
        prompt_tokens: words in the prompt.
        calls: the functions to call, each with the pieces of its arguments; none for plain text.
        thoughts: what it thinks first.
        thinks_in: the member that holds them.
        matched: the stop string that was met, where the engine says it.
        stream: the request wants events.
        include_usage: the request wants the usage chunk.
    """

    kind: Kind
    id: str
    model: str
    pieces: Pieces
    finish: str
    prompt_tokens: int
    calls: tuple[tuple[str, Pieces], ...] = ()
    thoughts: Pieces = ()
    thinks_in: str = ""
    matched: str | None = None
    stream: bool = False
    include_usage: bool = False

    @property
    def tokens(self) -> int:
        """How many there are of every sort."""
        return len(self.thoughts) + len(self.pieces) + sum(len(pieces) for _, pieces in self.calls)

    @property
    def usage(self) -> dict[str, Any]:
        """The `usage` object."""
        output = self.tokens
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": output,
            "total_tokens": self.prompt_tokens + output,
            "prompt_tokens_details": {"cached_tokens": 0},
        }


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event, and whether it carries a token (faults are counted in tokens)."""

    data: bytes
    token: bool = False


class BadRequest(Exception):  # noqa: N818 - named after the status it becomes
    """The body is not a request that a model server could answer."""


def parse(body: bytes) -> dict[str, Any]:
    """The request's JSON object.

    Raises:
        BadRequest: it is not a JSON object.
    """
    try:
        request = json.loads(body)
    except ValueError as error:
        raise BadRequest(f"body is not JSON: {error}") from None
    if not isinstance(request, dict):
        raise BadRequest("body is not a JSON object")
    return request


def plan(kind: Kind, request: Mapping[str, Any], manner: Manner | None = None) -> Plan:
    """Decide the reply to a request.

    Args:
        kind: which route was asked.
        request: the parsed body.
        manner: of the engine.

    Raises:
        BadRequest: the messages or the prompt are missing.
    """
    manner = manner or Manner()
    field = "messages" if kind == "chat" else "prompt"
    if not request.get(field):
        raise BadRequest(f"'{field}' is required")
    text = _text(request[field])
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    calls = _calls(request, manner, digest) if kind == "chat" else ()
    thinks = kind == "chat" and manner.thoughts and request.get("reasoning_effort") != "none"
    wanted = request.get("max_completion_tokens") or request.get("max_tokens") or manner.tokens
    pieces: Pieces = ()
    matched, finish = None, "tool_calls"
    if not calls:
        pieces = _said(manner, text) or words(digest, manner.tokens)
        pieces, finish = pieces[:wanted], "length" if wanted < len(pieces) else "stop"
        pieces, matched = _stopped(pieces, request.get("stop"))
        finish = finish if matched is None else "stop"
    return Plan(
        kind=kind,
        id=("chatcmpl-" if kind == "chat" else "cmpl-") + digest.hex()[:24],
        model=request.get("model") or manner.model,
        pieces=pieces,
        finish=finish,
        prompt_tokens=len(text.split()),
        calls=calls,
        thoughts=words(digest[::-1], _THOUGHTS) if thinks else (),
        thinks_in=manner.thoughts,
        matched=matched if manner.names_stop else None,
        stream=bool(request.get("stream")),
        include_usage=bool((request.get("stream_options") or {}).get("include_usage")),
    )


def _said(manner: Manner, asked: str) -> Pieces:
    """What it was told to say, in small pieces; none when it was not told."""
    text = "unsafe\nS1" if manner.unsafe_about and manner.unsafe_about in asked else manner.says
    return tuple(text[at : at + _PIECE] for at in range(0, len(text), _PIECE))


def words(digest: bytes, count: int) -> Pieces:
    """`count` words chosen by a digest; each but the first starts with its space, as tokens do."""
    start, step = digest[0], digest[1] | 1
    chosen = (_WORDS[(start + step * index) % len(_WORDS)] for index in range(count))
    return tuple(word if index == 0 else f" {word}" for index, word in enumerate(chosen))


def whole(plan: Plan) -> bytes:
    """The reply to a request that did not ask for a stream."""
    text = "".join(plan.pieces)
    choice: dict[str, Any] = {"index": 0, "finish_reason": plan.finish} | _matched(plan)
    if plan.kind == "completion":
        choice["text"] = text
    else:
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if plan.calls:
            message["content"] = None
            message["tool_calls"] = [
                _call(plan, number, name, "".join(pieces)) for number, (name, pieces) in enumerate(plan.calls)
            ]
        if plan.thoughts:
            message[plan.thinks_in] = "".join(plan.thoughts)
        choice["message"] = message
    name = "chat.completion" if plan.kind == "chat" else "text_completion"
    return _json({**_head(plan, name), "choices": [choice], "usage": plan.usage})


def events(plan: Plan) -> Iterator[Event]:
    """The reply to a request that asked for a stream, event by event."""
    if plan.kind == "chat":
        yield Event(_chunk(plan, {"role": "assistant", "content": None if plan.calls else ""}))
    for piece in plan.thoughts:
        yield Event(_chunk(plan, {plan.thinks_in: piece}), token=True)
    for piece in plan.pieces:
        yield Event(_chunk(plan, {"content": piece}), token=True)
    for number, (name, pieces) in enumerate(plan.calls):
        yield Event(_chunk(plan, {"tool_calls": [{"index": number, **_call(plan, number, name, "")}]}))
        for piece in pieces:
            delta = {"tool_calls": [{"index": number, "function": {"arguments": piece}}]}
            yield Event(_chunk(plan, delta), token=True)
    yield Event(_chunk(plan, {}, plan.finish))
    if plan.include_usage:
        yield Event(_event({**_head(plan, _chunk_name(plan)), "choices": [], "usage": plan.usage}))
    yield Event(DONE)


def embeddings(request: Mapping[str, Any], *, model: str = "scripted") -> bytes:
    """One short vector for each input, of length one, chosen by the input's digest.

    Raises:
        BadRequest: there is no input.
    """
    given = request.get("input")
    if not given:
        raise BadRequest("'input' is required")
    inputs = given if isinstance(given, list) and not isinstance(given[0], int) else [given]
    data = [{"object": "embedding", "index": at, "embedding": _vector(_text(item))} for at, item in enumerate(inputs)]
    count = sum(len(_text(item).split()) for item in inputs)
    usage = {"prompt_tokens": count, "total_tokens": count}
    return _json({"object": "list", "model": request.get("model") or model, "data": data, "usage": usage})


def models(name: str) -> bytes:
    """The reply of `/v1/models`, with the fields that llama-server adds."""
    card = {"id": name, "object": "model", "created": CREATED, "owned_by": "scripted", "meta": {"n_ctx_train": 4096}}
    return _json({"object": "list", "data": [card]})


def error(status: int, message: str, kind: str = "server_error") -> bytes:
    """An error reply in llama-server's shape."""
    return _json({"error": {"message": message, "type": kind, "code": status}})


def error_event(message: str) -> bytes:
    """The event with which a server reports a failure inside a stream."""
    return _event({"error": {"message": message, "type": "server_error", "code": 500}})


def _text(value: Any) -> str:
    """All the words in a prompt, a message list or a list of content parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return " ".join(filter(None, map(_text, value)))
    if isinstance(value, dict):
        return _text(value.get("content") or value.get("text"))
    return str(value) if isinstance(value, int) else ""


def _calls(request: Mapping[str, Any], manner: Manner, digest: bytes) -> tuple[tuple[str, Pieces], ...]:
    """The functions that the reply calls; none when it answers in words."""
    tools = [tool["function"] for tool in request.get("tools") or () if tool.get("type") == "function"]
    choice = request.get("tool_choice")
    if choice == "none" or request["messages"][-1].get("role") == "tool":
        return ()
    if isinstance(choice, dict):
        named = choice.get("function", {}).get("name")
        tools = [tool for tool in tools if tool["name"] == named]
    most = 1 if request.get("parallel_tool_calls") is False else manner.calls
    return tuple((tool["name"], _arguments(tool, digest)) for tool in tools[:most])


def _stopped(pieces: Pieces, stop: str | list[str] | None) -> tuple[Pieces, str | None]:
    """The pieces in front of the first stop string, and which one that was."""
    stops = [stop] if isinstance(stop, str) else stop or []
    text = "".join(pieces)
    found = [(at, string) for string in stops if (at := text.find(string)) >= 0]
    if not found:
        return pieces, None
    at, matched = min(found)
    kept, left = [], at
    for piece in pieces:
        kept.append(piece[:left])
        left = max(0, left - len(piece))
    return tuple(piece for piece in kept if piece), matched


def _arguments(tool: Mapping[str, Any], digest: bytes) -> Pieces:
    """The arguments of a tool call as JSON text, cut into pieces as a tokenizer would."""
    properties: Mapping[str, Any] = (tool.get("parameters") or {}).get("properties") or {}
    filler: dict[str, Any] = {"integer": digest[2], "number": digest[2] / 2, "boolean": True, "array": [], "object": {}}
    word = words(digest, 1)[0]
    values = {name: filler.get(schema.get("type", "string"), word) for name, schema in properties.items()}
    text = json.dumps(values)
    return tuple(text[start : start + 5] for start in range(0, len(text), 5))


def _vector(text: str) -> list[float]:
    raw = [byte - 127.5 for byte in hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:_DIMENSIONS]]
    length = math.hypot(*raw)
    return [round(value / length, 6) for value in raw]


def _call(plan: Plan, number: int, name: str, arguments: str) -> dict[str, Any]:
    call_id = f"call_{plan.id[-16:]}{number or ''}"
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _matched(plan: Plan) -> dict[str, Any]:
    return {} if plan.matched is None else {"stop_reason": plan.matched}


def _head(plan: Plan, name: str) -> dict[str, Any]:
    return {"id": plan.id, "object": name, "created": CREATED, "model": plan.model}


def _chunk_name(plan: Plan) -> str:
    return "chat.completion.chunk" if plan.kind == "chat" else "text_completion"


def _chunk(plan: Plan, delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish} | (_matched(plan) if finish else {})
    if plan.kind == "chat":
        choice["delta"] = delta
    else:
        choice["text"] = delta.get("content", "")
    return _event({**_head(plan, _chunk_name(plan)), "choices": [choice]})


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + _json(value) + b"\n\n"


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
