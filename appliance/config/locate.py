"""Where in the file a setting stands, for error messages that open in an editor.

The standard parser keeps no positions. This scanner reads the same text a second time and keeps nothing else; it may
be lenient, because the parser has accepted the text already.
"""

import json
import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

ConfigPath = tuple[str | int, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'  # up to two quotes may stand just before the closing three
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\])*"'
    r"|'[^']*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}\n#]*")
_SPACE = re.compile(r"[ \t]*")
_GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")


def dotted(path: ConfigPath) -> str:
    """A path as people write it: `runtimes[0].memory`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if _BARE.fullmatch(step) else json.dumps(step))
    return text


@dataclass(frozen=True, slots=True)
class Positions:
    """Lines and columns, both from 1, of the keys, table headers and list items of one file."""

    found: Mapping[ConfigPath, tuple[int, int]]

    def at(self, path: ConfigPath) -> tuple[int, int]:
        """Line and column of a setting; of its nearest parent when it is not in the file."""
        while path and path not in self.found:
            path = path[:-1]
        return self.found.get(path, (1, 1))


def spans(text: str) -> dict[ConfigPath, tuple[int, int]]:
    """Where each value begins and ends, as offsets in a text that `tomllib` accepts; tables with headers have none."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.spans


def locate(text: str) -> Positions:
    """Find every key, table header and list item of a text that `tomllib` accepts."""
    offsets = _Scanner(text).document()
    starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def position(offset: int) -> tuple[int, int]:
        line = bisect_right(starts, offset)
        return line, offset - starts[line - 1] + 1

    return Positions({path: position(offset) for path, offset in offsets.items()})


class _Scanner:
    """One pass over the text; `_at` is the next character."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._offsets: dict[ConfigPath, int] = {}
        self._items: dict[ConfigPath, int] = {}  # how many [[path]] there were so far
        self.spans: dict[ConfigPath, tuple[int, int]] = {}

    def document(self) -> dict[ConfigPath, int]:
        table: ConfigPath = ()
        self._skip(_GAP)
        while self._at < len(self._text):
            if self._next() == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_GAP)
        return self._offsets

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match[0]

    def _header(self) -> ConfigPath:
        brackets = 2 if self._text.startswith("[[", self._at) else 1
        self._at += brackets
        *parents, (name, offset) = self._key()
        self._at += brackets
        path: ConfigPath = ()
        for parent, parent_offset in parents:
            path = (*path, parent)
            self._offsets.setdefault(path, parent_offset)
            if path in self._items:  # [a.b] after [[a]] belongs to the last item of a
                path = (*path, self._items[path] - 1)
        path = (*path, name)
        if brackets == 1:
            self._offsets[path] = offset
            return path
        self._offsets.setdefault(path, offset)
        index = self._items.get(path, 0)
        self._items[path] = index + 1
        self._offsets[*path, index] = offset
        return (*path, index)

    def _key(self) -> list[tuple[str, int]]:
        names = []
        while True:
            self._skip(_SPACE)
            offset = self._at
            if self._next() in ('"', "'"):
                # The parser itself undoes the escapes: one rule book, not two.
                name = tomllib.loads("key = " + self._skip(_STRING))["key"]
            else:
                name = self._skip(_BARE)
            names.append((name, offset))
            self._skip(_SPACE)
            if self._next() != ".":
                return names
            self._at += 1

    def _pair(self, table: ConfigPath) -> None:
        path = table
        *parents, (name, offset) = self._key()
        for parent, parent_offset in parents:
            path = (*path, parent)
            self._offsets.setdefault(path, parent_offset)
        path = (*path, name)
        self._offsets[path] = offset
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(path)

    def _value(self, path: ConfigPath) -> None:
        start, first = self._at, self._next()
        if first == "{":
            self._inside("}", path)
        elif first == "[":
            self._inside("]", path)
        elif first in ('"', "'"):
            self._skip(_STRING)
        else:
            self._skip(_SCALAR)
        self.spans[path] = start, start + len(self._text[start : self._at].rstrip())

    def _inside(self, closing: str, path: ConfigPath) -> None:
        self._at += 1
        index = 0
        self._skip(_GAP)
        while self._at < len(self._text) and self._next() != closing:
            if closing == "]":
                self._offsets[*path, index] = self._at
                self._value((*path, index))
            else:
                self._pair(path)
            index += 1
            self._skip(_GAP)
            if self._next() == ",":
                self._at += 1
                self._skip(_GAP)
        self._at += 1
