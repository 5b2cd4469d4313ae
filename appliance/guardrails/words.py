"""One pattern for a list of words and phrases, however long it is.

Words that begin alike share their beginning in the pattern, so that a list of thousands is compiled in a moment and
costs no more to look for than a short one.
"""

import re
from collections.abc import Iterable
from typing import Any

from appliance.guardrails.prefixes import DEEPEST, PatternError

_SPACE = r"\s{1,8}"
_MEMBER = re.compile(r"\w", re.ASCII)
_END = ""


def any_word(words: Iterable[str]) -> str:
    """A pattern for any of the words.

    In any case, with any space between their parts; whole words only where they begin and end with a letter or digit.
    Of several that begin at the same place the longest counts.

    Raises:
        PatternError: too many words begin alike.
    """
    trees: dict[str, dict[str, Any]] = {}
    for word in words:
        steps = _steps(word)
        node = trees.setdefault(_border(steps[0]), {})
        for step in steps:
            node = node.setdefault(step, {})
        node[_END] = _border(steps[-1])
    return "(?i:" + "|".join(front + _pattern(tree) for front, tree in trees.items()) + ")"


def _steps(word: str) -> list[str]:
    """The word in pieces of a pattern, one for each character or space."""
    parts = [[re.escape(character) for character in part.lower()] for part in word.split()]
    steps = parts[0]
    for part in parts[1:]:
        steps += [_SPACE, *part]
    return steps


def _border(step: str) -> str:
    return r"\b" if _MEMBER.fullmatch(step) else ""


def _pattern(tree: dict[str, Any], left: int = DEEPEST) -> str:
    """Longer words first; a row without branches stays one."""
    if left < 0:
        raise PatternError(f"more than {DEEPEST} words begin alike, each longer than the one before")
    row = ""
    while len(tree) == 1 and _END not in tree:
        ((step, tree),) = tree.items()
        row += step
    branches = [step + _pattern(rest, left - 1) for step, rest in tree.items() if step]
    if _END in tree:
        branches.append(tree[_END])
    return row + (branches[0] if len(branches) == 1 else "(?:" + "|".join(branches) + ")")
