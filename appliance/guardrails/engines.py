"""The two engines that patterns run in. In both, time grows with the text and never with the shape of a pattern.

RE2 says what a match is, and where it is. But nearly every text holds none, and most texts are short: then a look costs
what it costs to get into an engine and back, and with RE2's package that is more than the look itself. Rust's `regex`
descends from RE2 and takes half as long for all of it. `pydantic_core` is the best kept of the packages that have it.
It may only be asked whether there is anything at all, with patterns that find no less than RE2 does; where it says yes,
RE2 looks again.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import re2
from pydantic_core import SchemaError, SchemaValidator

from appliance.guardrails.prefixes import PatternError, anywhere, anywhere_in_rust

_UNANCHORED = re2._Anchor.UNANCHORED  # noqa: SLF001 - see `Glance`
# Rust's engine keeps 2 MiB of what it has learnt of its patterns, and where that is too little it is a hundred times
# slower: with 1,500 words beside all personal data (13,000 instructions) it is, with 800 (8,000) it is not.
_LARGE = 6_000  # instructions of all patterns, as RE2 counts them
SHORT = 2**12  # characters of a text; in longer ones RE2 is as quick, and what it costs to be wrong above is bounded


def compiled(pattern: str) -> Any:
    """The pattern, compiled by RE2.

    Raises:
        PatternError: RE2 cannot read it, or it would need too much memory.
    """
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = 64 * 2**20  # unions of all detectors need more than the 8 MiB that one pattern gets
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0]
        raise PatternError(reason.decode() if isinstance(reason, bytes) else str(reason)) from error


class Glance:
    """Whether there may be anything to find in the midst of a text.

    Args:
        patterns: as `prefixes` reads them.
        words: to look for as well, letters and quotes only.
        known: by RE2, perhaps the very same: a long list of words takes a while to compile.

    Attributes:
        short: False where there is certainly no match in a text of at most `SHORT` characters; True says that there may
            be one.
        long: the same for any text.

    Raises:
        PatternError: one of the patterns cannot be used.
    """

    __slots__ = ("long", "short")

    def __init__(self, patterns: Sequence[str], words: Sequence[str] = (), known: Any = None) -> None:
        union = _any(map(anywhere, patterns), words)
        whole = known if known is not None and known.pattern == union else compiled(union)
        # The inner part: what wraps it takes three times as long as it.
        thorough = whole._regexp  # noqa: SLF001 - see above
        match = thorough.Match

        def long(text: str) -> bool:
            data = text.encode()
            found: int = match(_UNANCHORED, data, 0, len(data))[0][0]
            return found >= 0

        self.long: Callable[[str], bool] = long
        self.short: Callable[[str], bool] = long
        if thorough.ProgramSize() <= _LARGE:
            self.short = _quick(_any(map(anywhere_in_rust, patterns), words)) or long

    def suspects(self, text: str) -> bool:
        """The same for any text; who looks at every request asks `short` and `long` himself."""
        return self.short(text) if len(text) <= SHORT else self.long(text)


def _any(patterns: Iterable[str], words: Iterable[str]) -> str:
    return "|".join(dict.fromkeys((*patterns, *words)))


def _quick(pattern: str) -> Callable[[str], bool] | None:
    """Says whether Rust's engine finds the pattern in a text; None where it does not take it."""
    try:
        return SchemaValidator({"type": "str", "pattern": pattern, "regex_engine": "rust-regex"}).isinstance_python
    except SchemaError:
        return None
