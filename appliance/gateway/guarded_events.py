"""The texts of an answer that is streamed as events with types of their own: Responses, and transcripts.

Such a stream says everything several times: piece by piece, then each text as a whole, then all of them in the last
event. The pieces go through windows like those of chat; what comes as a whole is looked at as a whole.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from appliance.errors import ProtocolViolation
from appliance.gateway.guarded_stream import Guarded, GuardedStream, Pane
from appliance.guardrails.json_text import JsonText
from appliance.guardrails.scanner import Scanner
from appliance.guardrails.verdict import Finding
from appliance.guardrails.window import Open, Window
from appliance.sse import cut, data_of, event, is_done
from appliance.wire.texts import answer_object, reply_texts

Key = tuple[object, ...]
_WITHIN = ("content_index", "summary_index")  # where in its item a piece belongs
_LAST = ("response.completed", "response.incomplete", "response.failed", "response.cancelled", "transcript.text.done")
_encode = msgspec.json.encode


class GuardedEvents(Guarded):
    """The state between two runs of events; the same methods and attributes as `GuardedStream`."""

    def __init__(self, scanner: Scanner | None, *, json_content: bool = False, listen: bool = False) -> None:
        super().__init__(scanner, json_content=json_content, listen=listen)
        self._panes: dict[Key, Pane] = {}
        self._pieces: dict[Key, dict[str, Any]] = {}  # the last event of each, for those that are made here
        self._saying: Key = ()
        self._given = 0  # events that went out; they are numbered
        self._chunks = GuardedStream(scanner, json_content=json_content, listen=listen)

    def feed(self, run: bytes) -> bytes:
        """Take a run of whole events; the events that may leave now.

        Raises:
            ProtocolViolation: an event is no JSON object.
        """
        if self.block is not None:
            return b""
        out = b"".join(part for one in cut(run) for part in self._event(one))
        if self._only_looks:
            self.swallowed = 0
            return run
        return out

    def finish(self) -> bytes:
        """The stream is over: what is still held."""
        if self.block is not None:
            return b""
        out = b"".join(self._closed(list(self._panes))) + self._chunks.finish()
        return b"" if self._only_looks else out

    def _event(self, one: bytes) -> Iterator[bytes]:
        data = data_of(one)
        if self.block is not None:
            return
        if is_done(data):
            self.done = True
            yield from self._closed(list(self._panes))
            yield self._as_chunk(one)
            return
        value = answer_object(data)
        if value is None:
            raise ProtocolViolation("an event of the stream is no JSON object")
        if "choices" in value:  # some engines stream transcripts as if they were chat
            yield self._as_chunk(one)
            return
        kind = str(value.get("type", ""))
        if kind.endswith(".delta") and "audio" not in kind and isinstance(value.get("delta"), str):
            yield from self._piece(kind, value)
            return
        yield from self._closed(self._ended_by(kind, value))
        if self.block is None:
            self.done = self.done or kind in _LAST
            if kind != "error":
                self._look_at_whole(value)
        if self.block is None:
            yield self._written(value)

    def _piece(self, kind: str, value: dict[str, Any]) -> Iterator[bytes]:
        key: Key = (kind, _item(value), *(value.get(name) for name in _WITHIN))
        if self._saying not in ((), key) and (other := self._panes.get(self._saying)):
            yield from self._made(self._saying, self._noted(other, other.pause()))
        self._saying = key
        if value.get("logprobs"):
            value["logprobs"] = []  # they repeat the text
        pane = self._panes.get(key) or self._panes.setdefault(key, self._pane(kind))
        self._pieces[key] = value
        self.swallowed += 1
        yield from self._made(key, self._noted(pane, pane.feed(value["delta"])))

    def _pane(self, kind: str) -> Pane:
        if self._scanner is None:
            return Open()
        if "arguments" in kind or (self._json_content and kind == "response.output_text.delta"):
            return JsonText(self._scanner, self.findings)
        return Window(self._scanner, self.findings)

    def _ended_by(self, kind: str, value: dict[str, Any]) -> list[Key]:
        """The pieces that are over with an event."""
        if kind in _LAST:
            return list(self._panes)
        if not kind.endswith(".done"):
            return []
        item = _item(value)
        return [key for key in self._panes if key[1] == item]

    def _closed(self, keys: list[Key]) -> Iterator[bytes]:
        for key in keys:
            pane = self._panes.pop(key)
            if self.block is None:
                yield from self._made(key, self._noted(pane, pane.finish()))

    def _look_at_whole(self, value: dict[str, Any]) -> None:
        """What was said in pieces is found again, and not counted twice."""
        if self._scanner is None:
            return
        found: dict[Finding, int] = {}
        for text in reply_texts(value):
            whole = JsonText(self._scanner, found) if text.json else Window(self._scanner, found)
            left = whole.feed(text.value)
            left += self._noted(whole, whole.finish())
            if self.block is not None:
                break
            if any(finding.action == "redact" for finding in found):
                text.replace(left)
        self.findings |= {finding: times for finding, times in found.items() if finding not in self.findings}

    def _as_chunk(self, one: bytes) -> bytes:
        chunks = self._chunks
        out = chunks.feed(one)
        self.block = chunks.block or self.block
        self.findings |= chunks.findings
        self.done = self.done or chunks.done
        self.swallowed = chunks.swallowed
        self.said, self.heard = chunks.said or self.said, chunks.heard or self.heard
        return out

    def _made(self, key: Key, text: str) -> Iterator[bytes]:
        if not text:
            return
        self.swallowed -= 1
        if self._listen:
            index = key[1] if isinstance(key[1], int) else 0
            self.said.setdefault(index, []).append(text)
            self.heard += len(text)
        yield self._written(self._pieces[key] | {"delta": text})

    def _written(self, value: dict[str, Any]) -> bytes:
        if "sequence_number" in value:
            value["sequence_number"] = self._given
        self._given += 1
        kind = value.get("type")
        name = b"event: " + kind.encode() + b"\n" if isinstance(kind, str) and "\n" not in kind else b""
        return name + event(_encode(value))

    def _noted(self, pane: Pane, left: str) -> str:
        if pane.block is not None:
            self.block = pane.block
        return left


def _item(value: dict[str, Any]) -> object:
    """What an event is about: a place in the output, or a name where the engine does not number its items."""
    if "output_index" in value:
        return value["output_index"]
    item = value.get("item")
    if isinstance(item, dict):
        return item.get("id", item.get("call_id"))
    return value.get("item_id")
