"""The texts of a streamed answer, seen through windows: chunks in, chunks out that hold what may be said.

Each field of each choice has a window of its own, as clients put each together by itself. What a window holds back
leaves with a later chunk of the same field, and at the latest in front of the choice's finish reason.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from appliance.errors import ProtocolViolation
from appliance.guardrails.json_text import JsonText
from appliance.guardrails.scanner import Scanner
from appliance.guardrails.verdict import Block, Finding
from appliance.guardrails.window import Open, Window
from appliance.sse import cut, data_of, event, is_done
from appliance.wire.chunk import peek
from appliance.wire.texts import PLAIN, TOP, Text, answer_object, keep, keep_choice, message_of, message_texts
from appliance.wire.token_shape import TokenShape, shape_of

_encode = msgspec.json.encode
_STRING = msgspec.json.Decoder(str)
_WHOLE = "name"  # comes in one piece
_FRUITLESS = 8
Pane = Window | JsonText | Open
Place = tuple[str, int]  # name of a field; of which tool call, 0 where there is none


@dataclass(slots=True)
class _Choice:
    """One choice so far."""

    panes: dict[Place, Pane] = field(default_factory=dict)
    saying: frozenset[Place] = frozenset()  # the fields of its last chunk that said anything
    calls: int = -1  # the tool call that was begun last


class Guarded:
    """What is known of a stream that is looked at, whatever its events are.

    Args:
        scanner: what to look for; None looks for nothing.
        json_content: the client asked for an answer that is JSON.
        listen: keep what has left.

    Attributes:
        findings: each kind of finding with how often it was found.
        block: set when a guardrail lets nothing more through; then every further call gives b"".
        swallowed: content chunks that came in, less those that went out.
        said: what has left, by choice; filled where `listen` is set.
        heard: how many characters that is.
        done: `[DONE]` has come.
    """

    def __init__(self, scanner: Scanner | None, *, json_content: bool = False, listen: bool = False) -> None:
        self.findings: dict[Finding, int] = {}
        self.block: Block | None = None
        self.swallowed = 0
        self.said: dict[int, list[str]] = {}
        self.heard = 0
        self.done = False
        self._scanner = scanner
        self._json_content = json_content
        self._listen = listen
        self._only_looks = scanner is None or scanner.only_looks


class GuardedStream(Guarded):
    """The state between two runs of chat or completion chunks."""

    def __init__(self, scanner: Scanner | None, *, json_content: bool = False, listen: bool = False) -> None:
        super().__init__(scanner, json_content=json_content, listen=listen)
        self._choices: dict[int, _Choice] = {}
        self._top: dict[str, Any] = {}  # of the last chunk, for those that are made here
        self._shape: TokenShape | None = None  # of the tokens that come
        self._ours: TokenShape | None = None  # of what is made of them
        self._latest: tuple[bytes, bytes] | None = None  # an event of the present run, and what was made of it
        self._fruitless = 0  # tries to learn a shape since one last fitted

    def feed(self, run: bytes) -> bytes:
        """Take a run of whole events; the events that may leave now.

        Raises:
            ProtocolViolation: an event is not a chunk.
        """
        if self.block is not None:
            return b""
        out = self._tokens(run)
        if out is None:
            out = b"".join(part for one in cut(run) for part in self._event(one))
            self._learn()
        if self._only_looks:
            self.swallowed = 0
            return run
        return out

    def finish(self) -> bytes:
        """The stream is over: what is still held."""
        if self.block is not None:
            return b""
        out = b"".join(self._flushed())
        return b"" if self._only_looks else out

    def _tokens(self, run: bytes) -> bytes | None:
        """The same for tokens that are known to be nothing else; None where they are not."""
        shape, ours = self._shape, self._ours
        if shape is None or ours is None:
            return None
        texts = shape.texts(run)
        if texts is None:
            return None
        self._fruitless = 0
        choice = self._choices[shape.index]
        pane = choice.panes[shape.member, 0]
        joined = b"".join(texts)
        text = _STRING.decode(b'"' + joined + b'"') if b"\\" in joined else joined.decode()
        left = self._noted(pane, pane.feed(text))
        self.swallowed += len(texts) - texts.count(b"")
        if not left:
            return b""
        self.swallowed -= 1
        self._heard(shape.index, left)
        return ours.around(_encode(left)[1:-1])

    def _event(self, one: bytes) -> Iterator[bytes]:
        if self.block is not None:
            return
        data = data_of(one)
        if is_done(data):
            self.done = True
            yield from self._flushed()
            if self.block is None:
                yield one
            return
        chunk = answer_object(data)
        if chunk is None:
            raise ProtocolViolation("an event of the stream is not a chunk")
        keep(chunk, TOP)
        self._top = {name: value for name, value in chunk.items() if name not in ("choices", "usage", "error")}
        choices = chunk.get("choices")
        if isinstance(choices, list) and choices:
            chunk["choices"] = kept = []
            for choice in choices:
                if isinstance(choice, dict) and self.block is None:
                    yield from self._choice(choice)
                    kept += [choice] if _says_anything(choice) else []
            if not kept and (chunk.get("usage") is None or self.block is not None):
                return
        made = event(_encode(chunk))
        self._latest = data, made
        yield made

    def _learn(self) -> None:
        """Take the shape of what came last, if it is an ordinary token that goes on with what was said."""
        self._shape = self._ours = None
        latest, self._latest = self._latest, None
        if latest is None or self._fruitless == _FRUITLESS:
            return
        data, made = latest
        self._fruitless += 1
        shape = shape_of(data, peek(data))
        ours = shape_of(data_of(made), peek(data_of(made))) if shape is not None and shape.member else None
        if shape is None or ours is None or ours.member != shape.member:
            return
        choice = self._choices.get(shape.index)
        if choice is not None and choice.saying == {(shape.member, 0)}:
            self._shape, self._ours = shape, ours

    def _choice(self, choice: dict[str, Any]) -> Iterator[bytes]:
        """Look through one choice and change it; yields the chunks that belong in front of it."""
        found = choice.get("index", 0)
        index = found if isinstance(found, int) else 0
        state = self._choices.setdefault(index, _Choice())
        texts = self._taken_apart(choice, state)
        saying = frozenset(place for place, text in texts if text.value)
        if saying:
            self.swallowed += 1
            yield from self._paused(index, state, saying)
            state.saying = saying
        ends = bool(choice.get("finish_reason"))
        last = dict(texts)
        for place, text in texts:
            pane = self._pane(state, place)
            left = self._noted(pane, pane.feed(text.value))
            if self.block is None and (place[0] == _WHOLE or (ends and last[place] is text)):
                left += self._noted(pane, pane.finish())
                del state.panes[place]
            if left:
                self._heard(index, left)
                self.swallowed -= bool(saying)
                saying = frozenset()  # one chunk, however many texts
            text.holder[text.key] = left if left or not text.value else None
            if self.block is not None:
                choice["finish_reason"] = None
                return
        if ends:
            yield from self._ended(index, state)

    def _taken_apart(self, choice: dict[str, Any], state: _Choice) -> list[tuple[Place, Text]]:
        """The texts of a choice, with what may repeat one taken out of it."""
        delta, text = choice.get("delta"), choice.get("text")
        keep_choice(choice)
        found: list[tuple[Place, Text]] = []
        if isinstance(text, str):
            choice["text"] = text
            found.append((("text", 0), Text(choice, "text")))
        if isinstance(delta, dict):
            choice["delta"] = kept = message_of(delta)
            calls = {id(call.get("function")): _number(call, state) for call in kept.get("tool_calls") or ()}
            for one in message_texts(kept, json_content=self._json_content):
                number = calls.get(id(one.holder), -1)
                name = "content" if one.key == "text" else str(one.key)
                found.append(((name, number if name in ("name", "arguments") else 0), one))
        return found

    def _paused(self, index: int, state: _Choice, saying: frozenset[Place]) -> Iterator[bytes]:
        """What other fields hold back goes first: what is said now was said after it."""
        for place in state.saying - saying:
            if pane := state.panes.get(place):
                yield from self._made(index, place, self._noted(pane, pane.pause()))

    def _ended(self, index: int, state: _Choice) -> Iterator[bytes]:
        for place, pane in list(state.panes.items()):
            if self.block is None:
                yield from self._made(index, place, self._noted(pane, pane.finish()))
        state.panes.clear()

    def _flushed(self) -> Iterator[bytes]:
        for index, state in self._choices.items():
            yield from self._ended(index, state)

    def _made(self, index: int, place: Place, text: str) -> Iterator[bytes]:
        """A chunk of our own for what was held."""
        if not text:
            return
        self.swallowed -= 1
        self._heard(index, text)
        name, number = place
        choice: dict[str, Any] = {"index": index, "finish_reason": None}
        if name == "text":
            choice["text"] = text
        elif name == "arguments" and number >= 0:
            choice["delta"] = {"tool_calls": [{"index": number, "function": {"arguments": text}}]}
        elif name == "arguments":
            choice["delta"] = {"function_call": {"arguments": text}}
        else:
            choice["delta"] = {name: text}
        yield event(_encode(self._top | {"choices": [choice]}))

    def _pane(self, state: _Choice, place: Place) -> Pane:
        pane = state.panes.get(place)
        if pane is None:
            if self._scanner is None:
                pane = Open()
            elif place[0] == "arguments" or (self._json_content and place[0] == "content"):
                pane = JsonText(self._scanner, self.findings)
            else:
                pane = Window(self._scanner, self.findings)
            state.panes[place] = pane
        return pane

    def _noted(self, pane: Pane, left: str) -> str:
        if pane.block is not None:
            self.block = pane.block
        return left

    def _heard(self, index: int, text: str) -> None:
        if self._listen and text:
            self.said.setdefault(index, []).append(text)
            self.heard += len(text)


def _number(call: dict[str, Any], state: _Choice) -> int:
    """Which tool call a part belongs to; some engines leave it out."""
    number = call.get("index")
    if not isinstance(number, int):
        number = state.calls + 1 if call.get("id") or state.calls < 0 else state.calls
    state.calls = number
    return number


def _says_anything(choice: dict[str, Any]) -> bool:
    """Whether there is something left to tell after what is held was taken out."""
    if choice.get("finish_reason"):
        return True
    if choice.get("text") is not None:
        return True
    choice.pop("text", None)
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        return False
    for name in PLAIN:
        if isinstance(parts := delta.get(name), list):
            delta[name] = [part for part in parts if part["text"] is not None] or None
        if name in delta and delta[name] is None:
            del delta[name]
    if "tool_calls" in delta:
        calls = [call for call in delta.pop("tool_calls") if _tells(call.get("function")) or "id" in call]
        delta |= {"tool_calls": calls} if calls else {}
    if "function_call" in delta and not _tells(delta["function_call"]):
        del delta["function_call"]
    return bool(delta)


def _tells(function: dict[str, Any] | None) -> bool:
    """Whether a part of a tool call has anything to tell, when what is held is taken out of it."""
    for name in [name for name, value in (function or {}).items() if value is None]:
        del (function or {})[name]
    return bool(function)
