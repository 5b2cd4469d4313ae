"""What Messages clients read: events apart and put together, with every rule of the stream checked."""

import json
from typing import Any, Protocol

from appliance.sse import Splitter, cut, data_of


def events_of(raw: bytes) -> list[dict[str, Any]]:
    """The data of every event; each is named after its type."""
    found = []
    assert raw.endswith(b"\n\n")
    for event in raw.decode().removesuffix("\n\n").split("\n\n"):
        name, data = event.split("\n")
        value = json.loads(data.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        found.append(value)
    return found


def message_of(raw: bytes) -> dict[str, Any]:
    """The message that a client puts together; breaks where one would."""
    start, *events = events_of(raw)
    assert start["type"] == "message_start"
    message: dict[str, Any] = start["message"]
    assert message["content"] == []
    assert message["usage"]["output_tokens"] == 0
    arguments, is_open, over = "", False, False
    for event in events:
        assert not over
        match event["type"]:
            case "ping":
                pass
            case "content_block_start":
                assert not is_open
                assert event["index"] == len(message["content"])
                is_open, arguments = True, ""
                message["content"].append(event["content_block"])
            case "content_block_delta":
                assert is_open
                assert event["index"] == len(message["content"]) - 1
                arguments += _add(message["content"][-1], event["delta"])
            case "content_block_stop":
                assert is_open
                assert event["index"] == len(message["content"]) - 1
                is_open = False
                block = message["content"][-1]
                if block["type"] == "tool_use":
                    block["partial"] = arguments
            case "message_delta":
                assert not is_open
                message |= event["delta"]
                message["usage"] |= event["usage"]
            case "message_stop":
                over = True
            case other:
                raise AssertionError(other)
    assert over
    return message


def _add(block: dict[str, Any], delta: dict[str, Any]) -> str:
    match delta["type"], block["type"]:
        case ("text_delta", "text"):
            block["text"] += delta["text"]
        case ("thinking_delta", "thinking"):
            assert not block["signature"]
            block["thinking"] += delta["thinking"]
        case ("signature_delta", "thinking"):
            assert delta["signature"]
            block["signature"] = delta["signature"]
        case ("input_json_delta", "tool_use"):
            return str(delta["partial_json"])
        case other:
            raise AssertionError(other)
    return ""


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    """The data of one chat chunk."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    for name in ("stop_reason",):
        if name in more:
            choice[name] = more.pop(name)
    return json.dumps({"id": "chatcmpl-1", "model": "m", "choices": [choice], **more}, ensure_ascii=False).encode()


def call(index: int | None, arguments: str | None = None, **first: str) -> dict[str, Any]:
    """A delta with a part of a tool call; `id` and `name` come with the first."""
    function = {name: first[name] for name in ("name",) if name in first}
    if arguments is not None:
        function["arguments"] = arguments
    part: dict[str, Any] = {"function": function}
    if index is not None:
        part["index"] = index
    if "id" in first:
        part |= {"id": first["id"], "type": "function"}
    return {"tool_calls": [part]}


class Converter(Protocol):
    """Makes chat chunks from the data of events."""

    def event(self, data: bytes) -> bytes: ...


def converted(converter: Converter, *pieces: bytes) -> bytes:
    """What it makes of a stream that comes in these pieces."""
    splitter = Splitter()
    return b"".join(converter.event(data_of(event)) for piece in pieces for event in cut(splitter.feed(piece)))


def chunks_of(raw: bytes) -> list[Any]:
    """The chat chunks of a stream, without its end."""
    return [json.loads(line[6:]) for line in raw.split(b"\n\n") if line and line != b"data: [DONE]"]
