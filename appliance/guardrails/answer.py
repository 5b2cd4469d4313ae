"""What a guard model says about a text, as a finding.

Llama Guard and its kin answer `safe`, or `unsafe` and the categories on the next line (`S1,S10`); others write
`Safety: Unsafe` or `yes`, or an object such as `{"safe": false, "categories": ["S1"]}`. The words are settings. Nothing
of an answer is ever passed on but names that the configuration has and codes such as `S1`: a text under suspicion may
have made the guard model repeat it.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from appliance.config.schema import Guardrail
from appliance.guardrails.verdict import Finding

_CODE = re.compile(r"[A-Z]{1,2}[0-9]{1,2}")
_UNNAMED = "unsafe"
_BEGUN = re.compile(r"\s*(?:```(?:json)?\s*)?\{")
_FENCED = re.compile(r"\s*(?:```(?:json)?\s*)?(\{.*\})\s*(?:```\s*)?", re.DOTALL)


class UnreadableError(ValueError):
    """An answer that says neither."""


def judged(answer: str, guard: Guardrail) -> list[Finding]:
    """The findings of an answer; none when the text may pass.

    Raises:
        UnreadableError: it says neither that the text may pass nor that it may not.
    """
    table = _object(answer)
    unsafe, said = _of_lines(answer, guard) if table is None else _of_object(table, guard)
    if not unsafe:
        return []
    names = {name.casefold(): shown for name, shown in guard.categories.items()}
    known = [word for word in said if word.casefold() in names or _CODE.fullmatch(word)]
    shown = [names.get(word.casefold(), word) for word in known]
    categories = dict.fromkeys(name for name in shown if name)
    if not categories and shown:
        return []  # all that it found is allowed
    return [
        Finding(guard.name, guard.action, name, "The guard model found the text unsafe")
        for name in categories or {_UNNAMED: None}
    ]


def _of_lines(answer: str, guard: Guardrail) -> tuple[bool, list[str]]:
    """Whether the first line says unsafe, and what the others name."""
    first, _, rest = answer.strip().partition("\n")
    unsafe, safe = (_says(first, words) for words in (guard.unsafe, guard.safe))
    if unsafe == safe:
        raise UnreadableError("it says neither that the text may pass nor that it may not")
    return unsafe, [word.strip() for word in re.split(r"[,;\n]", rest.partition(":")[2] or rest)]


def _object(answer: str) -> dict[str, Any] | None:
    """The JSON object that an answer is, alone or fenced; None when it is none.

    Half an object is no answer: `{"safe": ` would be read as a word.
    """
    if not _BEGUN.match(answer):
        return None
    found = _FENCED.fullmatch(answer)
    try:
        value = msgspec.json.decode(found[1]) if found is not None else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UnreadableError("it begins an object and is none")
    return value


def _of_object(table: dict[str, Any], guard: Guardrail) -> tuple[bool, list[str]]:
    """Its verdict is a member that is one of the words, or whose name is one and that is true or false."""
    words = {word.strip().casefold(): verdict for verdict in (True, False) for word in _words_of(guard, unsafe=verdict)}
    verdicts = set()
    for name, value in table.items():
        if isinstance(value, bool) and name.casefold() in words:
            verdicts.add(words[name.casefold()] == value)
        elif isinstance(value, str) and value.strip().casefold() in words:
            verdicts.add(words[value.strip().casefold()])
    if len(verdicts) != 1:
        raise UnreadableError("it says neither that the text may pass nor that it may not")
    return verdicts.pop(), list(_texts(table))


def _words_of(guard: Guardrail, *, unsafe: bool) -> Sequence[str]:
    return guard.unsafe if unsafe else guard.safe


def _texts(table: dict[str, Any]) -> Iterator[str]:
    """What it may name: its texts, those in its lists, and the names of what is true in its tables."""
    for value in table.values():
        if isinstance(value, str):
            yield value.strip()
        elif isinstance(value, list):
            yield from (one.strip() for one in value if isinstance(one, str))
        elif isinstance(value, dict):
            yield from (name.strip() for name, holds in value.items() if holds is True)


def _says(line: str, words: Sequence[str]) -> bool:
    pattern = "|".join(re.escape(word.strip()) for word in words)
    return re.search(rf"(?<!\w)(?:{pattern})(?!\w)", line, re.IGNORECASE) is not None
