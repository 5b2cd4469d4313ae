"""A whole chat answer as a Message."""

from typing import Any

import msgspec

from appliance.domain.calls import Usage
from appliance.errors import ProtocolViolation
from appliance.translate.stop import BROKEN, stop_of
from appliance.wire.chunk import TokenCount

# Thinking blocks must carry one; it is never checked here, and taken off again when a client sends the block back.
SIGNATURE = "bG9jYWw="
_CALLER: dict[str, Any] = {"type": "direct"}


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    id: str | None = None
    function: _Function | None = None


class _Message(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message
    index: int = 0
    finish_reason: str | None = None
    stop_reason: msgspec.Raw = msgspec.Raw()


class _Completion(msgspec.Struct, gc=False):
    choices: list[_Choice]
    model: str | None = None
    usage: TokenCount | None = None


_COMPLETION = msgspec.json.Decoder(_Completion)
_OBJECT = msgspec.json.Decoder(dict[str, Any])
_ANY = msgspec.json.Decoder()


def to_message(body: bytes, message_id: str, request_id: str, model: str) -> tuple[bytes, Usage | None, str]:
    """The Message, its token counts, None where the engine gave none, and why it ended, in the engine's word.

    Args:
        body: the engine's answer.
        message_id: the new message's id.
        request_id: of the exchange.
        model: what to call the model when the engine does not say.

    Raises:
        ProtocolViolation: it is not a chat completion, or the engine gave up on it.
    """
    try:
        completion = _COMPLETION.decode(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolViolation(f"the answer is not a chat completion: {error}") from error
    if not completion.choices:
        raise ProtocolViolation("the answer has no choices")
    choice = completion.choices[0]
    if choice.finish_reason in BROKEN:
        raise ProtocolViolation(f"the engine gave up on its answer ({choice.finish_reason})")
    said = choice.message
    content = _content(said, cut_short=choice.finish_reason == "length")
    matched = _ANY.decode(choice.stop_reason) if len(choice.stop_reason) else None
    reason, sequence = stop_of(choice.finish_reason, matched, calls=bool(said.tool_calls), refused=bool(said.refusal))
    usage = completion.usage.as_usage() if completion.usage else None
    message = message_object(message_id, completion.model or model, usage_object(usage or Usage()))
    message |= {"content": content, "stop_reason": reason, "stop_sequence": sequence, "request_id": request_id}
    return msgspec.json.encode(message), usage, choice.finish_reason or ""


def message_object(message_id: str, model: str, usage: dict[str, Any]) -> dict[str, Any]:
    """A Message without content; strict clients want the members that are null as well."""
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "usage": usage,
    }


def usage_object(usage: Usage) -> dict[str, Any]:
    """Messages counts what came from the cache beside the input, chat within it."""
    return {
        "input_tokens": max(0, usage.input - usage.cached),
        "output_tokens": usage.output,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "cache_creation": None,
        "server_tool_use": None,
        "service_tier": None,
        "inference_geo": None,
        "output_tokens_details": None,
    }


def tool_block(call_id: str, name: str, arguments: object) -> dict[str, Any]:
    """A call of a tool."""
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments, "caller": _CALLER}


def _content(said: _Message, *, cut_short: bool) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if thinking := said.reasoning or said.reasoning_content:
        blocks.append({"type": "thinking", "thinking": thinking, "signature": SIGNATURE})
    if text := (said.content or "") + (said.refusal or ""):
        blocks.append({"type": "text", "text": text, "citations": None})
    for number, call in enumerate(said.tool_calls or ()):
        function = call.function or _Function()
        arguments = _arguments(function.arguments or "", cut_short=cut_short)
        blocks.append(tool_block(call.id or f"toolu_{number}", function.name or "", arguments))
    return blocks or [{"type": "text", "text": "", "citations": None}]  # clients look at the first block unasked


def _arguments(text: str, *, cut_short: bool) -> object:
    """What a tool is called with: an object; what is not one is handed over as it was written, never lost."""
    if not text.strip():
        return {}
    try:
        _OBJECT.decode(text)
        return msgspec.Raw(text.encode())
    except (ValueError, RecursionError):
        return {} if cut_short else {"_raw": text}
