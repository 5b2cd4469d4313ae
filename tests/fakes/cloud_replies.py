"""What the clouds say, written down from their documents and from what their users report."""

import json
from typing import Any

GEMINI_USAGE = {"completion_tokens": 8, "prompt_tokens": 11, "total_tokens": 19}
SIGNED = {"extra_content": {"google": {"thought_signature": "CrICAdHtim827fQ"}}}
_TEXT = "Hello there, friend."
_WEATHER = {"name": "weather", "arguments": '{"city":"Graz"}'}
_TIME = {"name": "clock", "arguments": "{}"}


def error(path: str, status: int, words: str) -> object:
    if path.startswith("/v1/messages"):
        kinds = {401: "authentication_error", 429: "rate_limit_error", 529: "overloaded_error"}
        kind = kinds.get(status, "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": words}, "request_id": "req_theirs"}
    if path.startswith("/v1beta"):
        names = {429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}
        return [{"error": {"code": status, "message": words, "status": names.get(status, "INVALID_ARGUMENT")}}]
    return {"error": {"message": words, "type": "invalid_request_error", "param": None, "code": "invalid_api_key"}}


def whole(path: str, model: str) -> object:
    if path.startswith("/v1/messages/count_tokens"):
        return {"input_tokens": 14}
    if path.startswith("/v1/messages"):
        return _message(model)
    if path.endswith("/embeddings"):
        return _embeddings(path, model)
    return _completion(path, model)


def _message(model: str) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": _TEXT}]
    if model == "tools":
        content = [
            {"type": "thinking", "thinking": "Weather, then time.", "signature": "EqQBCgIYAhIM"},
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "toolu_01A", "name": "weather", "input": {"city": "Graz"}},
            {"type": "tool_use", "id": "toolu_01B", "name": "clock", "input": {}},
        ]
    return {
        "id": "msg_013Zva2CMHLNnXjNJJKqJ2EF",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": content,
        "stop_reason": "tool_use" if model == "tools" else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 12,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 3,
            "output_tokens": 6,
            "service_tier": "standard",
        },
    }


def _completion(path: str, model: str) -> dict[str, Any]:
    gemini = path.startswith("/v1beta")
    message: dict[str, Any] = {"role": "assistant", "content": _TEXT}
    finish = "stop"
    if model == "tools":
        calls: list[dict[str, Any]] = [
            {"id": "call_a", "type": "function", "function": _WEATHER} | (SIGNED if gemini else {}),
            {"id": "call_b", "type": "function", "function": _TIME},
        ]
        message = {"role": "assistant", "content": None, "tool_calls": calls}
        finish = "stop" if gemini else "tool_calls"  # as Gemini is reported to say
    choice = {"index": 0, "message": message, "finish_reason": finish}
    answer = {"object": "chat.completion", "model": model, "choices": [choice], "usage": GEMINI_USAGE}
    return answer if gemini else answer | {"id": "chatcmpl-theirs", "created": 1_700_000_000}


def _embeddings(path: str, model: str) -> dict[str, Any]:
    data: list[dict[str, Any]] = [{"object": "embedding", "embedding": [0.5, -1.0]}]
    if path.startswith("/v1beta"):  # no index, no usage
        return {"object": "list", "data": data, "model": model}
    data = [data[0] | {"index": 0}]
    return {"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": 2, "total_tokens": 2}}


def events(path: str, model: str) -> list[bytes]:
    if path.startswith("/v1/messages"):
        return [b"event: %s\ndata: %s\n\n" % (e["type"].encode(), _json(e)) for e in _messages_events(model)]
    gemini = path.startswith("/v1beta")
    return [b"data: %s\n\n" % _json(chunk) for chunk in _chunks(model, gemini=gemini)] + [b"data: [DONE]\n\n"]


def _messages_events(model: str) -> list[dict[str, Any]]:
    message = _message(model)
    first = message | {"content": [], "stop_reason": None, "usage": message["usage"] | {"output_tokens": 1}}
    out: list[dict[str, Any]] = [{"type": "message_start", "message": first}]
    for index, block in enumerate(message["content"]):
        out += _block_events(index, block)
        out += [{"type": "ping"}] if index == 0 else []
    if model == "overloaded":
        return [*out[:4], {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}]
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    return [*out, {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 15}}, {"type": "message_stop"}]


def _block_events(index: int, block: dict[str, Any]) -> list[dict[str, Any]]:
    def delta(kind: str, **members: str) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **members}}

    empty: dict[str, Any]
    if block["type"] == "text":
        empty, half = {"type": "text", "text": ""}, len(block["text"]) // 2
        deltas = [delta("text_delta", text=part) for part in (block["text"][:half], block["text"][half:])]
    elif block["type"] == "thinking":
        empty = {"type": "thinking", "thinking": "", "signature": ""}
        deltas = [
            delta("thinking_delta", thinking=block["thinking"]),
            delta("signature_delta", signature=block["signature"]),
        ]
    else:
        empty, arguments = block | {"input": {}}, json.dumps(block["input"])
        deltas = [delta("input_json_delta", partial_json=part) for part in ("", arguments[:3], arguments[3:])]
    start = {"type": "content_block_start", "index": index, "content_block": empty}
    return [start, *deltas, {"type": "content_block_stop", "index": index}]


def _chunks(model: str, *, gemini: bool) -> list[Any]:
    head: dict[str, Any] = {"object": "chat.completion.chunk", "model": model}
    if not gemini:
        head |= {"id": "chatcmpl-theirs", "created": 1_700_000_000}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        role = {"role": "assistant"} if gemini else {}
        choice = {"index": 0, "delta": role | delta, "finish_reason": finish}
        return head | {"choices": [choice]} | ({"usage": GEMINI_USAGE} if gemini else {})

    texts = ["Hello", " there", ",", " friend."]
    if model == "overloaded":
        failed: Any = {"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE", "type": "server_error"}}
        return [chunk({"content": "Hello"}), [failed] if gemini else failed]
    if model != "tools":
        start = [] if gemini else [chunk({"role": "assistant", "content": ""})]
        out = [*start, *(chunk({"content": text}) for text in texts), chunk({}, "stop")]
    elif gemini:  # whole calls, no index, and "stop" in the end
        calls = [{"id": "call_a", "type": "function", "function": _WEATHER} | SIGNED]
        more = [{"id": "", "type": "function", "function": _TIME}]
        out = [chunk({"tool_calls": calls}), chunk({"tool_calls": more}, "stop")]
    else:
        one = {"index": 0, "id": "call_a", "type": "function", "function": _WEATHER}
        two = {"index": 1, "id": "call_b", "type": "function", "function": _TIME}
        out = [chunk({"role": "assistant", "tool_calls": [one]}), chunk({"tool_calls": [two]}), chunk({}, "tool_calls")]
    return out if gemini else [*out, head | {"choices": [], "usage": GEMINI_USAGE}]


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
