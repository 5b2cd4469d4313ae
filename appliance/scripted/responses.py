"""What the scripted engine says on `/v1/responses`: the same reply as to a chat, in the events of that API."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from appliance.scripted.replies import CREATED, BadRequest, Event, Plan


def as_chat(request: Mapping[str, Any]) -> dict[str, Any]:
    """The chat request that asks for the same.

    Raises:
        BadRequest: there is no input.
    """
    given = request.get("input")
    if not given:
        raise BadRequest("'input' is required")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else [_message(item) for item in given]
    tools = [{"type": tool.get("type"), "function": tool} for tool in request.get("tools") or ()]
    chat = {"messages": items, "tools": tools, "max_tokens": request.get("max_output_tokens")}
    return dict(request) | chat


def whole(plan: Plan) -> bytes:
    """The reply to a request that did not ask for a stream."""
    return _json(_response(plan, _output(plan)))


def events(plan: Plan) -> Iterator[Event]:
    """The reply to a request that asked for a stream, event by event; there is no `[DONE]`."""
    begun = _response(plan, [], "in_progress")
    yield _event("response.created", response=begun)
    for index, item in enumerate(_output(plan)):
        call = item["type"] == "function_call"
        kind = "function_call_arguments" if call else "output_text"
        pieces = plan.calls[index][1] if call else plan.pieces
        where: dict[str, Any] = {"item_id": item["id"], "output_index": index}
        if not call:
            where["content_index"] = 0
        yield _event("response.output_item.added", output_index=index, item=item | _empty(item))
        part = {"type": "output_text", "text": "", "annotations": []}
        if not call:
            yield _event("response.content_part.added", **where, part=part)
        for piece in pieces:
            yield _token(f"response.{kind}.delta", **where, delta=piece)
        done = {"arguments" if call else "text": "".join(pieces)}
        yield _event(f"response.{kind}.done", **where, **done)
        if not call:
            yield _event("response.content_part.done", **where, part=part | {"text": "".join(pieces)})
        yield _event("response.output_item.done", output_index=index, item=item)
    last = "incomplete" if plan.finish == "length" else "completed"
    yield _event(f"response.{last}", response=_response(plan, _output(plan), last))


def error_event(message: str) -> bytes:
    """The event with which a server reports a failure inside such a stream."""
    return _event("error", code="server_error", message=message, param=None).data


def _message(item: Mapping[str, Any]) -> dict[str, Any]:
    if item.get("type") == "function_call_output":
        return {"role": "tool", "content": item.get("output")}
    return {"role": item.get("role", "assistant"), "content": item.get("content")}


def _output(plan: Plan) -> list[dict[str, Any]]:
    name = plan.id[-16:]
    if plan.calls:
        return [
            {
                "type": "function_call",
                "id": f"fc_{name}{number}",
                "call_id": f"call_{name}{number}",
                "name": tool,
                "arguments": "".join(pieces),
                "status": "completed",
            }
            for number, (tool, pieces) in enumerate(plan.calls)
        ]
    text = {"type": "output_text", "text": "".join(plan.pieces), "annotations": []}
    return [{"type": "message", "id": f"msg_{name}", "role": "assistant", "status": "completed", "content": [text]}]


def _empty(item: Mapping[str, Any]) -> dict[str, Any]:
    rest: dict[str, Any] = {"arguments": ""} if item["type"] == "function_call" else {"content": []}
    return {"status": "in_progress"} | rest


def _response(plan: Plan, output: list[dict[str, Any]], status: str = "completed") -> dict[str, Any]:
    response: dict[str, Any] = {
        "id": f"resp_{plan.id[-24:]}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "model": plan.model,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
    if status == "in_progress":
        return response
    usage = {"input_tokens": plan.prompt_tokens, "output_tokens": plan.tokens}
    usage["total_tokens"] = sum(usage.values())
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    return response | {"usage": usage | details}


def _event(kind: str, **members: Any) -> Event:
    return Event(f"event: {kind}\ndata: ".encode() + _json({"type": kind, **members}) + b"\n\n")


def _token(kind: str, **members: Any) -> Event:
    return Event(_event(kind, **members).data, token=True)


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
