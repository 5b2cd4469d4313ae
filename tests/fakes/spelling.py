"""JSON as somebody else may write it: the same value in any of its spellings."""

import json
from typing import Any

from hypothesis import strategies as st

_SHORT = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\n": "\\n", "\t": "\\t"}


def spelt(value: Any, data: st.DataObject) -> bytes:
    """The value as JSON, with escapes where they have to be and where they need not be, and blanks."""
    numbers = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=20))
    counter = iter(numbers * 10_000)
    return _written(value, counter).encode()


def _written(value: Any, choice: Any) -> str:
    blank = " " * (next(choice) % 2)
    if isinstance(value, str):
        return '"' + "".join(_character(one, next(choice)) for one in value) + '"'
    if isinstance(value, dict):
        members = (f"{_written(name, choice)}{blank}:{_written(inner, choice)}" for name, inner in value.items())
        return "{" + f"{blank},".join(members) + "}"
    if isinstance(value, list):
        return "[" + f",{blank}".join(_written(inner, choice) for inner in value) + "]"
    return json.dumps(value)


def _character(one: str, way: int) -> str:
    if way == 0 and one in _SHORT:
        return _SHORT[one]
    if way == 1 or ord(one) < 32 or one in '"\\':
        return "".join(f"\\u{unit:04x}" for unit in _units(one))
    return one


def _units(one: str) -> list[int]:
    raw = one.encode("utf-16-be")
    return [int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2)]
