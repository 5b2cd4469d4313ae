"""A whole Message, or an error of Anthropic's, as a chat client reads it."""

from typing import Any

import msgspec

from appliance.domain.calls import Usage
from appliance.errors import ProtocolViolation
from appliance.translate.messages_error import said

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}


class MessageUsage(msgspec.Struct, gc=False):
    """The `usage` of a Message, and of the events that bring it bit by bit."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None

    def as_usage(self, before: Usage = Usage()) -> Usage:  # noqa: B008 - it is frozen
        """The same in our own terms, where the prompt includes what the cache had; `before` fills what is absent."""
        if self.input_tokens is None:
            return Usage(before.input, self.output_tokens or before.output, before.cached)
        cached = self.cache_read_input_tokens or 0
        read = self.input_tokens + (self.cache_creation_input_tokens or 0) + cached
        return Usage(read, self.output_tokens or before.output, cached)


class _Block(msgspec.Struct, gc=False):
    type: str
    text: str = ""
    thinking: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _Message(msgspec.Struct, gc=False):
    content: list[_Block]
    id: str = ""
    model: str = ""
    stop_reason: str | None = None
    usage: MessageUsage | None = None


_MESSAGE = msgspec.json.Decoder(_Message)


def to_completion(body: bytes, created: int) -> bytes:
    """The chat completion that a Message is.

    Args:
        body: the Message.
        created: Unix time of the answer.

    Raises:
        ProtocolViolation: it is no Message.
    """
    try:
        message = _MESSAGE.decode(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolViolation(f"the answer is not a Message: {error}") from error
    text = "".join(block.text for block in message.content if block.type == "text")
    thoughts = "".join(block.thinking for block in message.content if block.type == "thinking")
    calls = [_call(block) for block in message.content if block.type == "tool_use"]
    said_: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else ""), "refusal": None}
    if thoughts:  # engines and clients have two names for it
        said_ |= {"reasoning_content": thoughts, "reasoning": thoughts}
    if calls:
        said_["tool_calls"] = calls
    choice = {"index": 0, "message": said_, "logprobs": None, "finish_reason": finish_of(message.stop_reason)}
    usage = (message.usage or MessageUsage()).as_usage()
    return msgspec.json.encode(
        {
            "id": message.id,
            "object": "chat.completion",
            "created": created,
            "model": message.model,
            "choices": [choice],
            "usage": chat_usage(usage),
        }
    )


def finish_of(stop: str | None) -> str:
    """`finish_reason` for a `stop_reason`; one that is not known yet ends an answer as well as any other."""
    return _FINISH.get(stop or "", "stop")


def chat_usage(usage: Usage) -> dict[str, Any]:
    """The `usage` object of the chat API."""
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
    }


def to_chat_error(status: int, body: bytes, request_id: str) -> bytes:
    """An error in Messages' envelope, or in none, in the envelope of the chat API; the status stays as it is."""
    message, kind = said(body)
    text = message or f"The provider answered with status {status} and no explanation."
    error = {"message": text, "type": kind if isinstance(kind, str) else "api_error", "param": None, "code": kind}
    return msgspec.json.encode({"error": error, "request_id": request_id})


def _call(block: _Block) -> dict[str, Any]:
    function = {"name": block.name, "arguments": bytes(block.input).decode() or "{}"}
    return {"id": block.id, "type": "function", "function": function}
