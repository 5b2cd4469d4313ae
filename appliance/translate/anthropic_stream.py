"""The events of a Messages stream, one by one, as chat chunks.

What Messages numbers as blocks, chat numbers as tool calls alone; the role comes once, the finish reason once, and the
count of tokens last, as the official SDKs need it.
"""

from typing import Any

import msgspec

from appliance.domain.calls import Usage
from appliance.errors import ProtocolViolation
from appliance.sse import DONE, event
from appliance.translate.anthropic_reply import MessageUsage, chat_usage, finish_of
from appliance.translate.messages_error import said


class _Block(msgspec.Struct, gc=False):
    type: str = ""
    id: str = ""
    name: str = ""
    text: str = ""
    input: msgspec.Raw = msgspec.Raw()


class _Delta(msgspec.Struct, gc=False):
    type: str = ""
    text: str = ""
    thinking: str = ""
    partial_json: str = ""
    stop_reason: str | None = None


class _Message(msgspec.Struct, gc=False):
    id: str = ""
    model: str = ""
    usage: MessageUsage | None = None


class _Event(msgspec.Struct, gc=False):
    type: str
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: MessageUsage | None = None


_EVENT = msgspec.json.Decoder(_Event)
_DONE = event(DONE)


class ChatFromMessages:
    """The state between two events.

    Args:
        created: Unix time of the answer.
    """

    def __init__(self, created: int) -> None:
        self._head: dict[str, Any] = {"id": "", "object": "chat.completion.chunk", "created": created, "model": ""}
        self._calls: dict[int, int] = {}  # by Anthropic's number of the block, ours of the tool call
        self._whole: set[int] = set()  # blocks whose arguments came with their start
        self._usage = Usage()

    def event(self, data: bytes) -> bytes:
        """The chunks for the data of one event; b"" where there is nothing to say.

        Raises:
            ProtocolViolation: it is not an event of a Messages stream.
        """
        try:
            seen = _EVENT.decode(data)
        except (ValueError, RecursionError) as error:
            raise ProtocolViolation(f"an event of the stream is not one of Messages: {error}") from error
        match seen.type:
            case "message_start":
                return self._start(seen.message or _Message())
            case "content_block_start":
                return self._begin(seen.index, seen.content_block or _Block())
            case "content_block_delta":
                return self._more(seen.index, seen.delta or _Delta())
            case "message_delta":
                self._count(seen.usage)
                stop = seen.delta.stop_reason if seen.delta else None
                return self._chunk({}, finish_of(stop)) if stop else b""
            case "message_stop":
                last = self._head | {"choices": [], "usage": chat_usage(self._usage)}
                return event(msgspec.json.encode(last)) + _DONE
            case "error":
                return _failed(data)
            case _:  # pings, the ends of blocks, and what is not invented yet
                return b""

    def _start(self, message: _Message) -> bytes:
        self._head |= {"id": message.id, "model": message.model}
        self._count(message.usage)
        return self._chunk({"role": "assistant", "content": ""})

    def _begin(self, index: int, block: _Block) -> bytes:
        if block.type == "text" and block.text:
            return self._chunk({"content": block.text})
        if block.type != "tool_use":
            return b""
        number = self._calls.setdefault(index, len(self._calls))
        given = bytes(block.input)
        arguments = "" if given in {b"", b"{}", b"null"} else given.decode()
        if arguments:
            self._whole.add(index)
        function = {"name": block.name, "arguments": arguments}
        return self._chunk(
            {"tool_calls": [{"index": number, "id": block.id, "type": "function", "function": function}]}
        )

    def _more(self, index: int, delta: _Delta) -> bytes:
        if delta.text:
            return self._chunk({"content": delta.text})
        if delta.thinking:  # engines and clients have two names for it
            return self._chunk({"reasoning_content": delta.thinking, "reasoning": delta.thinking})
        if delta.partial_json and index in self._calls and index not in self._whole:
            part = {"index": self._calls[index], "function": {"arguments": delta.partial_json}}
            return self._chunk({"tool_calls": [part]})
        return b""

    def _count(self, usage: MessageUsage | None) -> None:
        if usage is not None:
            self._usage = usage.as_usage(self._usage)

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event(msgspec.json.encode(self._head | {"choices": [choice]}))


def _failed(data: bytes) -> bytes:
    message, kind = said(data)
    text = message or "The provider reported an error in its stream."
    error = {"message": text, "type": kind if isinstance(kind, str) else "api_error", "param": None, "code": kind}
    return event(msgspec.json.encode({"error": error}))
