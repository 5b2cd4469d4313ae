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
_TEXT = """
amber anchor autumn basket beacon bridge candle canyon cedar chapel cloud copper coral desert ember engine
falcon feather forest garden granite harbor hollow island ivory jasper kettle lantern ledger lemon maple marble
meadow mirror morning needle north ocean orchard paper pebble pepper planet quartz quiet raven ribbon river
saddle sailor shadow silver spark stone summer thunder timber tunnel valley velvet violet walnut water willow
winter
"""
_WORDS = tuple(_TEXT.split())


Kind = Literal["chat", "completion"]


@dataclass(frozen=True, slots=True)
class Plan:
    """One reply, decided before its first byte.

    Attributes:
        kind: which of the two generating routes asked.
        id: derived from the prompt.
        model: the name the request gave.
        pieces: the tokens, in order; joined they are the text, or the arguments of the tool call.
        finish: the `finish_reason`.
        prompt_tokens: words in the prompt.
        tool: name of the function to call; empty for plain text.
        stream: the request wants events.
        include_usage: the request wants the usage chunk.
    """

    kind: Kind
    id: str
    model: str
    pieces: tuple[str, ...]
    finish: str
    prompt_tokens: int
    tool: str = ""
    stream: bool = False
    include_usage: bool = False

    @property
    def usage(self) -> dict[str, Any]:
        """The `usage` object."""
        output = len(self.pieces)
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


def plan(kind: Kind, request: Mapping[str, Any], *, model: str = "scripted", tokens: int = DEFAULT_TOKENS) -> Plan:
    """Decide the reply to a request.

    Args:
        kind: which route was asked.
        request: the parsed body.
        model: the name to answer with when the request gives none.
        tokens: length of a reply that nothing cuts short.

    Raises:
        BadRequest: the messages or the prompt are missing.
    """
    field = "messages" if kind == "chat" else "prompt"
    if not request.get(field):
        raise BadRequest(f"'{field}' is required")
    text = _text(request[field])
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    tool = _tool(request) if kind == "chat" else None
    options = request.get("stream_options") or {}
    wanted = request.get("max_completion_tokens") or request.get("max_tokens") or tokens
    if tool is None:
        pieces, finish = words(digest, min(wanted, tokens)), "length" if wanted < tokens else "stop"
    else:
        pieces, finish = _arguments(tool, digest), "tool_calls"
    return Plan(
        kind=kind,
        id=("chatcmpl-" if kind == "chat" else "cmpl-") + digest.hex()[:24],
        model=request.get("model") or model,
        pieces=pieces,
        finish=finish,
        prompt_tokens=len(text.split()),
        tool=tool["name"] if tool else "",
        stream=bool(request.get("stream")),
        include_usage=bool(options.get("include_usage")),
    )


def words(digest: bytes, count: int) -> tuple[str, ...]:
    """`count` words chosen by a digest; each but the first starts with its space, as tokens do."""
    start, step = digest[0], digest[1] | 1
    chosen = (_WORDS[(start + step * index) % len(_WORDS)] for index in range(count))
    return tuple(word if index == 0 else f" {word}" for index, word in enumerate(chosen))


def whole(plan: Plan) -> bytes:
    """The reply to a request that did not ask for a stream."""
    text = "".join(plan.pieces)
    choice: dict[str, Any] = {"index": 0, "finish_reason": plan.finish}
    if plan.kind == "completion":
        choice["text"] = text
    elif plan.tool:
        call = {"id": _call_id(plan), "type": "function", "function": {"name": plan.tool, "arguments": text}}
        choice["message"] = {"role": "assistant", "content": None, "tool_calls": [call]}
    else:
        choice["message"] = {"role": "assistant", "content": text}
    name = "chat.completion" if plan.kind == "chat" else "text_completion"
    return _json({**_head(plan, name), "choices": [choice], "usage": plan.usage})


def events(plan: Plan) -> Iterator[Event]:
    """The reply to a request that asked for a stream, event by event."""
    if plan.kind == "chat":
        yield Event(_chunk(plan, _opening(plan)))
    for piece in plan.pieces:
        yield Event(_chunk(plan, _delta(plan, piece)), token=True)
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


def _tool(request: Mapping[str, Any]) -> dict[str, Any] | None:
    """The function that the reply calls; None when it answers in words."""
    tools = [tool["function"] for tool in request.get("tools") or () if tool.get("type") == "function"]
    choice = request.get("tool_choice")
    if not tools or choice == "none" or request["messages"][-1].get("role") == "tool":
        return None
    if isinstance(choice, dict):
        named = choice.get("function", {}).get("name")
        return next((tool for tool in tools if tool["name"] == named), None)
    first: dict[str, Any] = tools[0]
    return first


def _arguments(tool: Mapping[str, Any], digest: bytes) -> tuple[str, ...]:
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


def _call_id(plan: Plan) -> str:
    return "call_" + plan.id[-16:]


def _head(plan: Plan, name: str) -> dict[str, Any]:
    return {"id": plan.id, "object": name, "created": CREATED, "model": plan.model}


def _chunk_name(plan: Plan) -> str:
    return "chat.completion.chunk" if plan.kind == "chat" else "text_completion"


def _opening(plan: Plan) -> dict[str, Any]:
    if not plan.tool:
        return {"role": "assistant", "content": ""}
    function = {"name": plan.tool, "arguments": ""}
    call = {"index": 0, "id": _call_id(plan), "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _delta(plan: Plan, piece: str) -> dict[str, Any]:
    if plan.tool:
        return {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
    return {"content": piece}


def _chunk(plan: Plan, delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
    if plan.kind == "chat":
        choice["delta"] = delta
    else:
        choice["text"] = delta.get("content", "")
    return _event({**_head(plan, _chunk_name(plan)), "choices": [choice]})


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + _json(value) + b"\n\n"


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
