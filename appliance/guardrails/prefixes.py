"""From a pattern to the pattern of its beginnings.

A stream must not let go of a text that could still become a match: `4111 11` may be an amount, or the first half of a
card number. What has to wait is the longest end of the text that some match begins with. That is a regular language
itself, and its pattern is built here from the pattern of the matches, so that it can never be forgotten or be wrong
for one of them.

Patterns are read with the standard library's parser and written back in RE2's syntax, or in Rust's for who only takes a
glance; all three agree on everything that is accepted here. Lookaround, back-references and possessive repeats are
refused: RE2 has none of them.
"""

import re
import warnings
from collections.abc import Mapping
from re import _constants as ops  # type: ignore[attr-defined]  # the parser's tree is not part of the typed surface
from re import _parser as parser  # type: ignore[attr-defined]  # see above
from typing import Any

LONGEST = 4096  # characters that a match on a stream may have: what waits is never more than this
_COUNTED = 40  # repeats up to here are counted; more would make RE2's automaton too big to be fast
_MOST_REPEATS = 1000  # RE2's own bound
DEEPEST = 100  # things inside one another; what is written back calls itself a few times for each
_CLASSES = {  # inside brackets, of ASCII only; spelt so that RE2 and Rust read the same
    ops.CATEGORY_DIGIT: r"[:digit:]",
    ops.CATEGORY_NOT_DIGIT: r"[:^digit:]",
    ops.CATEGORY_SPACE: r"\t\n\f\r\x20",
    ops.CATEGORY_NOT_SPACE: r"[:^space:]\v",
    ops.CATEGORY_WORD: r"[:word:]",
    ops.CATEGORY_NOT_WORD: r"[:^word:]",
}
_PLACES = {
    ops.AT_BEGINNING: "^",  # both of a line, where the pattern says so
    ops.AT_END: "$",
    ops.AT_BEGINNING_STRING: r"\A",
    ops.AT_BOUNDARY: r"\b",
    ops.AT_NON_BOUNDARY: r"\B",
    ops.AT_END_STRING: r"\z",
}
_ANYWHERE = _PLACES | dict.fromkeys((ops.AT_BEGINNING, ops.AT_BEGINNING_STRING, ops.AT_END, ops.AT_END_STRING), "")
_ANYWHERE_IN_RUST = _ANYWHERE | {
    ops.AT_BOUNDARY: r"(?-u:\b)",  # between ASCII letters and the rest, as everywhere in RE2
    ops.AT_NON_BOUNDARY: "",  # it could be between the bytes of a character
}
_FLAGS = (("i", re.IGNORECASE), ("m", re.MULTILINE), ("s", re.DOTALL))
_OF_SEVERAL = {ops.BRANCH, ops.SUBPATTERN, ops.MAX_REPEAT, ops.MIN_REPEAT}  # nodes that others are inside
_FROM_NOTHING = re.compile(r"(?<!\\)(?:\\\\)*\{,\d+\}")
Node = tuple[Any, Any]


class PatternError(ValueError):
    """A pattern that cannot be used; the text says why, for the operator."""


def bounded(pattern: str) -> int:
    """Characters of the longest possible match.

    Raises:
        PatternError: it cannot be read, matches the empty text, or has no such bound.
    """
    least, most = _parse(pattern).getwidth()
    if least == 0:
        raise PatternError("it matches the empty text, so it would match everywhere")
    if most > LONGEST:
        raise PatternError(f"its matches can be longer than {LONGEST} characters: write {{1,100}} in place of + or *")
    return int(most)


def beginnings(pattern: str) -> str:
    """A pattern, in RE2's syntax, for texts that end with a beginning of a match, the empty one included.

    It matches some texts more: high upper bounds of repeats are left out.

    Raises:
        PatternError: it cannot be read, or uses what has no beginnings here.
    """
    tree = _parse(pattern)
    return f"(?{_flags(tree)}:{_begin(list(tree))})"


def loosened(pattern: str) -> str:
    """A pattern, in RE2's syntax, that matches wherever the given one does, and in a few places more, but faster.

    Raises:
        PatternError: see `beginnings`.
    """
    return _written(pattern, _PLACES)


def anywhere(pattern: str) -> str:
    """The same for a text of which nobody knows where it begins and ends, as it stands in the midst of others.

    Raises:
        PatternError: see `beginnings`.
    """
    return _written(pattern, _ANYWHERE)


def anywhere_in_rust(pattern: str) -> str:
    """The same in the syntax of Rust's `regex`. It finds no less: in a few places more, where words border.

    Raises:
        PatternError: see `beginnings`.
    """
    return _written(pattern, _ANYWHERE_IN_RUST)


def _written(pattern: str, places: Mapping[Any, str]) -> str:
    tree = _parse(pattern)
    return f"(?{_flags(tree)}:{_whole(tree, places)})"


def _flags(tree: Any) -> str:
    return "".join(letter for letter, flag in _FLAGS if tree.state.flags & flag)


def _parse(pattern: str) -> Any:
    if _FROM_NOTHING.search(pattern):
        raise PatternError("RE2 reads {,9} as these very characters: write {0,9}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            tree = parser.parse(pattern)
    except FutureWarning as error:
        raise PatternError(
            f"it has a class inside a class, or what looks like one: write [0-9] for [[:digit:]] ({error})"
        ) from error
    except (re.error, OverflowError, RecursionError) as error:
        raise PatternError(f"it is not a regular expression: {error}") from error
    if _deeper(tree, DEEPEST):
        raise PatternError(f"it has more than {DEEPEST} brackets and repeats inside one another")
    return tree


def _deeper(tree: Any, most: int) -> bool:
    """Whether more things than that are inside one another."""
    level = [tree]
    for _ in range(most + 1):
        level = [inner for nodes in level for node in nodes for inner in _inside(node)]
    return bool(level)


def _inside(node: Node) -> list[Any]:
    op, value = node
    if op is ops.BRANCH:
        return list(value[1])
    return [value[-1]] if op in _OF_SEVERAL else []


def _begin(nodes: list[Node]) -> str:
    """The beginnings of a row of nodes, each with an end of the text of its own.

    One end for all would be a place where all beginnings meet, and such places make RE2 slow to compile.
    """
    begun = r"\z"
    for behind, node in enumerate(reversed(nodes)):  # no call for each: a row may be longer than calls can be nested
        partly = _begin_one(node)
        last_of_several = behind == 0 and node[0] in _OF_SEVERAL  # the whole of it is one of its beginnings
        begun = partly if last_of_several else f"(?:{_whole_one(node)}{begun}|{partly})"
    return begun


def _begin_one(node: Node) -> str:
    r"""Beginnings of one node that are shorter than it may be; `\z`, the empty one, where there is no other."""
    op, value = node
    if op is ops.BRANCH:
        return "(?:" + "|".join(_begin(list(branch)) for branch in value[1]) + ")"
    if op is ops.SUBPATTERN:
        return _flagged(value, _begin(list(value[3])))
    if op in (ops.MAX_REPEAT, ops.MIN_REPEAT):
        least, most, inner = value
        _times(least, most)  # refuses too many
        again = _times(0, most if most == ops.MAXREPEAT else most - 1)
        return f"(?:{_whole(inner)}){again}{_begin(list(inner))}"
    return r"\z"


def _whole(nodes: Any, places: Mapping[Any, str] = _PLACES) -> str:
    return "".join(_whole_one(node, places) for node in nodes)


def _whole_one(node: Node, places: Mapping[Any, str] = _PLACES) -> str:
    op, value = node
    if op is ops.LITERAL:
        return re.escape(chr(value))
    if op is ops.NOT_LITERAL:
        return f"[^{_in_class(chr(value))}]"
    if op is ops.ANY:
        return "."
    if op is ops.IN:
        return _class(value)
    if op is ops.AT and value in places:
        return places[value]
    if op is ops.BRANCH:
        return "(?:" + "|".join(_whole(branch, places) for branch in value[1]) + ")"
    if op is ops.SUBPATTERN:
        return _flagged(value, _whole(value[3], places))
    if op in (ops.MAX_REPEAT, ops.MIN_REPEAT):
        least, most, inner = value
        lazy = "?" if op is ops.MIN_REPEAT else ""
        return f"(?:{_whole(inner, places)}){_times(least, most)}{lazy}"
    raise PatternError("it uses lookaround, a back-reference or a possessive repeat, which RE2 does not have")


def _flagged(value: Any, inner: str) -> str:
    _, added, removed, _ = value
    on, off = ("".join(letter for letter, flag in _FLAGS if flags & flag) for flags in (added, removed))
    return f"(?{on}{'-' if off else ''}{off}:{inner})"


def _times(least: int, most: Any) -> str:
    if max(least, most if most != ops.MAXREPEAT else 0) > _MOST_REPEATS:
        raise PatternError(f"it repeats something more than {_MOST_REPEATS} times")
    return f"{{{least},}}" if most > _COUNTED else f"{{{least},{most}}}"


def _class(items: list[Node]) -> str:
    parts = []
    for op, value in items:
        if op is ops.NEGATE:
            parts.append("^")
        elif op is ops.LITERAL:
            parts.append(_in_class(chr(value)))
        elif op is ops.RANGE:
            parts.append(f"{_in_class(chr(value[0]))}-{_in_class(chr(value[1]))}")
        else:
            parts.append(_CLASSES[value])
    return f"[{''.join(parts)}]"


def _in_class(character: str) -> str:
    return f"\\x{{{ord(character):x}}}"
