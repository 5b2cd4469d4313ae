r"""A text that should be JSON and arrives in pieces, such as the arguments of a tool call.

In the raw text a match would be missed (`bob\u0040example.com`), found where none is (`\nbob@example.com`, read as a
name with an n in front), or replaced by something that breaks the JSON (a number by a word without quotes). So each
string and each number is looked at by itself, as what it means, and written as JSON again.

What turns out to be no JSON is looked at as the plain text that it then is.
"""

import json
import re

from appliance.guardrails.scanner import Scanner
from appliance.guardrails.verdict import Block, Finding
from appliance.guardrails.window import Window

_STRUCTURE = re.compile(r"[\s{}\[\]:,]*")
_WORD = re.compile(r"[-+.0-9A-Za-z]+\s*")  # a number, true, false or null, and the space behind it
_VALUE = re.compile(r"(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null)\s*")
_BEHIND_A_VALUE = ",]}"
_PLAIN = re.compile(r'[^"\\]*')
_HIGH = r"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW = r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPE = re.compile(rf'{_HIGH}{_LOW}|\\u[0-9a-fA-F]{{4}}|\\["\\/bfnrt]')
_UNFINISHED = re.compile(rf"(?:{_HIGH})?(?:\\(?:u[0-9a-fA-F]{{0,3}})?)?")  # at the end of a piece
_LONGEST_WORD = 400  # characters; a number has not more


class JsonText:
    """A window for JSON; the same methods as `Window`.

    Args:
        scanner: what to look for.
        findings: where findings are counted; several windows may share it.

    Attributes:
        findings, block: as of a `Window`.
    """

    def __init__(self, scanner: Scanner, findings: dict[Finding, int] | None = None) -> None:
        self._scanner = scanner
        self.findings: dict[Finding, int] = {} if findings is None else findings
        self.block: Block | None = None
        self._held = ""  # a word or an escape whose end is not there yet
        self._window: Window | None = None  # of the string that is open, or of the plain text
        self._in_string = False

    def feed(self, piece: str) -> str:
        """Take the next characters; what may leave now, redacted."""
        text, self._held = self._held + piece, ""
        out: list[str] = []
        at = 0
        while at < len(text) and self.block is None:
            if self._window is None:
                at = self._outside(text, at, out)
            elif self._in_string:
                at = self._inside(text, at, self._window, out)
            else:
                out.append(self._noted(self._window, self._window.feed(text[at:])))
                break
        return "".join(out)

    def finish(self) -> str:
        """The text has ended; the rest of it, redacted."""
        held, self._held = self._held, ""
        window = self._window
        if self.block is not None:
            return ""
        if window is None:
            if _VALUE.fullmatch(held):
                return self._value(held)
            window = self._window = Window(self._scanner, self.findings)
        rest = self._noted(window, window.feed(held)) + self._noted(window, window.finish())
        return _inner(rest) if self._in_string else rest

    def pause(self) -> str:
        """Nothing may leave before its time: it would not be JSON."""
        return ""

    def _outside(self, text: str, at: int, out: list[str]) -> int:
        """Between the strings: structure passes, a word waits for what comes after it."""
        end = _STRUCTURE.match(text, at).end()  # type: ignore[union-attr]  # it matches everywhere
        out.append(text[at:end])
        if end == len(text):
            return end
        if text[end] == '"':
            out.append('"')
            self._window, self._in_string = Window(self._scanner, self.findings), True
            return end + 1
        word = _WORD.match(text, end)
        if word is not None and len(word[0]) <= _LONGEST_WORD:
            if word.end() == len(text):
                self._held = word[0]
                return len(text)
            if text[word.end()] in _BEHIND_A_VALUE and _VALUE.fullmatch(word[0]):
                out.append(self._value(word[0]))
                return word.end()
        self._window, self._in_string = Window(self._scanner, self.findings), False
        return end

    def _inside(self, text: str, at: int, window: Window, out: list[str]) -> int:
        """Inside a string, up to its end, an escape or the end of the piece."""
        end = _PLAIN.match(text, at).end()  # type: ignore[union-attr]  # it matches everywhere
        out.append(_inner(self._noted(window, window.feed(text[at:end]))))
        if end == len(text):
            return end
        if text[end] == '"':
            out.append(_inner(self._noted(window, window.finish())))
            if self.block is None:
                out.append('"')
            self._window, self._in_string = None, False
            return end + 1
        if _UNFINISHED.fullmatch(text, end):
            self._held = text[end:]
            return len(text)
        escape = _ESCAPE.match(text, end)
        meant = json.loads(f'"{escape[0]}"') if escape else "\\"  # a lone backslash: what a model meant by it is that
        out.append(_inner(self._noted(window, window.feed(meant))))
        return escape.end() if escape else end + 1

    def _value(self, word: str) -> str:
        """A number or a word of JSON's own; in quotes when something else has taken its place."""
        window = Window(self._scanner, self.findings)
        seen = self._noted(window, window.feed(word)) + self._noted(window, window.finish())
        return seen if seen == word or self.block is not None else json.dumps(seen, ensure_ascii=False)

    def _noted(self, window: Window, out: str) -> str:
        self.block = window.block
        return out


def _inner(text: str) -> str:
    """The inside of a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1] if text else ""
