"""Chat chunks, one by one, as the events of a Messages stream.

A Messages stream is a row of blocks, one after the other, while chat engines may go to and fro between text, thinking
and several tool calls. What would have to go into a block that is not open waits for its turn; a tool call is over when
its arguments are a whole JSON object, so it waits no longer than it must. Nothing is lost, and nothing is said twice.
"""

from dataclasses import dataclass, field
from typing import Literal

import msgspec

from appliance.domain.calls import Usage
from appliance.errors import ProtocolViolation
from appliance.translate.messages_error import engine_error_event
from appliance.translate.messages_reply import SIGNATURE, message_object, tool_block, usage_object
from appliance.translate.stop import BROKEN, stop_of
from appliance.wire.chunk import TokenCount

Kind = Literal["text", "thinking"]
PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_DELTAS = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking")}
_OPENINGS: dict[str, dict[str, object]] = {
    "text": {"type": "text", "text": "", "citations": None},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _ToolDelta(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolDelta] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None
    stop_reason: msgspec.Raw = msgspec.Raw()


class _Timings(msgspec.Struct, gc=False):
    prompt_n: int | None = None
    cache_n: int | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    model: str | None = None
    usage: TokenCount | None = None
    timings: _Timings | None = None
    error: msgspec.Raw = msgspec.Raw()


_CHUNK = msgspec.json.Decoder(_Chunk)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY = msgspec.json.Decoder()
_encode = msgspec.json.encode


@dataclass(eq=False, slots=True)
class _Call:
    """A tool call so far."""

    id: str
    name: str
    arguments: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Its arguments are a complete JSON object."""
        if not self.arguments or not self.arguments[-1].rstrip().endswith("}"):
            return False
        try:
            _OBJECT.decode("".join(self.arguments))
        except (ValueError, RecursionError):
            return False
        return True


class MessagesStream:
    """The state between two chunks.

    Args:
        message_id: the id of the message.
        request_id: of the exchange; error events carry it.
        model: what to call the model when the engine does not say.

    Attributes:
        open: what kind of block is open; empty when none is.
        gave_up: the engine ended its answer with a reason that is none.
    """

    def __init__(self, message_id: str, request_id: str, model: str) -> None:
        self.open: Literal["", "text", "thinking", "tool"] = ""
        self.gave_up = False
        self._id = message_id
        self._request_id = request_id
        self._model = model
        self._started = False
        self._failed = False
        self._index = -1  # of the block that was opened last
        self._head = self._tail = b""  # of a delta of the open block
        self._calls: dict[int, _Call] = {}  # by the engine's own index
        self._open_call: _Call | None = None
        self._called = 0
        self._refused = False
        self._waiting: list[_Call | tuple[Kind, list[str]]] = []
        self._finish: str | None = None
        self._matched: object = None
        self._usage = Usage()

    def chunk(self, data: bytes) -> bytes:
        """The events for the data of one chunk; b"" where there is nothing to say yet.

        Raises:
            ProtocolViolation: it is not a chunk.
        """
        try:
            chunk = _CHUNK.decode(data)
        except (ValueError, RecursionError) as error:
            raise ProtocolViolation(f"an event of the stream is not a chunk: {error}") from error
        if len(chunk.error) and _ANY.decode(chunk.error):
            return self._engine_failed(data)
        self._note(chunk)
        out: list[bytes] = []
        for choice in chunk.choices or ():
            if choice.index == 0:
                self._choice(choice, out)
        if out or chunk.usage is not None or self._finish is not None:
            self._start(chunk.model, out)
        return b"".join(out)

    def texts(self, kind: str, pieces: list[bytes]) -> bytes | None:
        """The events for tokens that are known to be nothing else.

        Args:
            kind: what they are.
            pieces: the insides of JSON strings, checked to be such.

        Returns:
            None when the open block is not for them; then `chunk` has to see them.
        """
        if kind != self.open or self._waiting:
            return None
        if b"" in pieces:
            pieces = [piece for piece in pieces if piece]
            if not pieces:
                return b""
        head, tail = self._head + b'"', b'"' + self._tail
        return b"".join((head, (tail + head).join(pieces), tail))

    def finish(self, estimated: int) -> bytes:
        """The events that end a good stream.

        Args:
            estimated: output tokens, for an engine that never told.
        """
        out: list[bytes] = []
        self._settle_waiting(out)
        if self._index < 0:
            self._begin("text", out)
        self._close(out)
        reason, sequence = stop_of(self._finish, self._matched, calls=self._called > 0, refused=self._refused)
        delta = {"stop_reason": reason, "stop_sequence": sequence, "stop_details": None, "container": None}
        usage = self._usage if self._usage.output or not estimated else Usage(self._usage.input, estimated)
        out.append(_event("message_delta", {"type": "message_delta", "delta": delta, "usage": usage_object(usage)}))
        out.append(_event("message_stop", {"type": "message_stop"}))
        self._start(None, out)
        return b"".join(out)

    def close(self) -> bytes:
        """What has to be said before an error event: the end of the open block."""
        out: list[bytes] = []
        if not self._failed:
            self._close(out)
        return b"".join(out)

    def _engine_failed(self, data: bytes) -> bytes:
        if self._failed:
            return b""
        out = self.close() + engine_error_event(data, self._request_id)
        self._failed = True
        return out

    def _note(self, chunk: _Chunk) -> None:
        if chunk.usage is not None:
            self._usage = chunk.usage.as_usage()
        elif chunk.timings is not None and not self._started:
            new, cached = chunk.timings.prompt_n or 0, chunk.timings.cache_n or 0
            self._usage = Usage(new + cached, 0, cached)

    def _start(self, model: str | None, out: list[bytes]) -> None:
        """Put the start of the message in front, once."""
        if self._started:
            return
        self._started = True
        usage = usage_object(Usage(self._usage.input, 0, self._usage.cached))
        message = message_object(self._id, model or self._model, usage)
        out.insert(0, _event("message_start", {"type": "message_start", "message": message}) + PING)

    def _choice(self, choice: _Choice, out: list[bytes]) -> None:
        delta = choice.delta
        if delta is not None:
            if thinking := delta.reasoning or delta.reasoning_content:
                self._said("thinking", thinking, out)
            if delta.content:
                self._said("text", delta.content, out)
            if delta.refusal:
                self._refused = True
                self._said("text", delta.refusal, out)
            for part in delta.tool_calls or ():
                self._tool(part, out)
        if choice.finish_reason:
            self._finish = choice.finish_reason
            self.gave_up = choice.finish_reason in BROKEN
            self._matched = _ANY.decode(choice.stop_reason) if len(choice.stop_reason) else None

    def _said(self, kind: Kind, text: str, out: list[bytes]) -> None:
        if self._waiting or (self._open_call is not None and not self._open_call.whole):
            last = self._waiting[-1] if self._waiting else None
            if isinstance(last, tuple) and last[0] == kind:
                last[1].append(text)
            else:
                self._waiting.append((kind, [text]))
            return
        if self.open != kind:
            self._begin(kind, out)
        out.append(self._head + _encode(text) + self._tail)

    def _tool(self, part: _ToolDelta, out: list[bytes]) -> None:
        function = part.function or _Function()
        call = self._call_of(part)
        if not call.name and function.name:
            call.name = function.name
        text = function.arguments or ""
        if text:
            call.arguments.append(text)
        if call is self._open_call:
            if text:
                out.append(self._head + _encode(text) + self._tail)
            if self._waiting and call.whole:
                self._go_on(out)
        elif call in self._waiting and (self._open_call is None or self._open_call.whole):
            self._go_on(out)

    def _call_of(self, part: _ToolDelta) -> _Call:
        """The call that a part belongs to; a new one waits in line."""
        index = part.index
        if index is None:  # Gemini leaves it out
            index = len(self._calls) if part.id or not self._calls else max(self._calls)
        call = self._calls.get(index)
        other = call is not None and part.id and call.id and part.id != call.id and call.name
        if call is None or other:
            call = _Call(part.id or "", "")
            self._calls[index] = call
            self._waiting.append(call)
        elif part.id and not call.id:
            call.id = part.id
        return call

    def _go_on(self, out: list[bytes]) -> None:
        """Say what waits, as far as it can be said."""
        while self._waiting and (self._open_call is None or self._open_call.whole):
            first = self._waiting[0]
            if isinstance(first, _Call) and not first.name:
                return
            del self._waiting[0]
            self._say(first, out)

    def _settle_waiting(self, out: list[bytes]) -> None:
        """At the end nothing more can come, so nothing is waited for."""
        waiting, self._waiting = self._waiting, []
        for item in waiting:
            self._say(item, out)

    def _say(self, item: "_Call | tuple[Kind, list[str]]", out: list[bytes]) -> None:
        if isinstance(item, _Call):
            self._begin_call(item, out)
            return
        kind, texts = item
        if self.open != kind:
            self._begin(kind, out)
        out.append(self._head + _encode("".join(texts)) + self._tail)

    def _begin(self, kind: Kind, out: list[bytes]) -> None:
        self._close(out)
        self._open_block(_OPENINGS[kind], *_DELTAS[kind], out)
        self.open = kind

    def _begin_call(self, call: _Call, out: list[bytes]) -> None:
        self._close(out)
        call.id = call.id or f"toolu_{self._id.removeprefix('msg_')}_{self._called}"
        self._called += 1
        self._open_block(tool_block(call.id, call.name, {}), "input_json_delta", "partial_json", out)
        self.open, self._open_call = "tool", call
        out.append(self._head + _encode("".join(call.arguments)) + self._tail)

    def _open_block(self, block: dict[str, object], delta: str, member: str, out: list[bytes]) -> None:
        self._index += 1
        number = self._index
        start = {"type": "content_block_start", "index": number, "content_block": block}
        out.append(_event("content_block_start", start))
        head = f'"index":{number},"delta":{{"type":"{delta}","{member}":'
        self._head = b'event: content_block_delta\ndata: {"type":"content_block_delta",' + head.encode()
        self._tail = b"}}\n\n"

    def _close(self, out: list[bytes]) -> None:
        if not self.open:
            return
        if self.open == "thinking":
            delta = {"type": "signature_delta", "signature": SIGNATURE}
            signed = {"type": "content_block_delta", "index": self._index, "delta": delta}
            out.append(_event("content_block_delta", signed))
        out.append(_event("content_block_stop", {"type": "content_block_stop", "index": self._index}))
        self.open, self._open_call = "", None


def _event(name: str, value: dict[str, object]) -> bytes:
    return b"".join((b"event: ", name.encode(), b"\ndata: ", _encode(value), b"\n\n"))
