"""The page Logs: what model processes write, and what we write ourselves."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

_HEAD = ("time", "level", "logger", "event")
_LEAST = 0.0005
LAST = 200  # lines that a page begins with


def values(chosen: str, replicas: Sequence[str], lines: Sequence[str]) -> dict[str, Any]:
    """All of it.

    Args:
        chosen: a runtime or a replica; "" for our own log.
        replicas: names of all that have a log.
        lines: oldest first.
    """
    known = sorted({*replicas, *([chosen] if chosen else [])})
    return {"chosen": chosen, "replicas": known, "lines": [readable(line) for line in lines]}


def readable(line: str) -> str:
    """A line as a person reads it: JSON of ours in the order of a sentence, anything else as it is."""
    if not line.startswith("{"):
        return line
    try:
        fields: Mapping[str, Any] = json.loads(line)
    except ValueError:
        return line
    if not isinstance(fields, dict) or not {"time", "level", "event"} <= fields.keys():
        return line
    empty = _nothing if fields["event"] == "exchange" else _silent
    said = [f"{name}={_word(value)}" for name, value in fields.items() if name not in _HEAD and not empty(value)]
    return " ".join([str(fields["time"])[11:19], f"{fields['level']:7}", str(fields["event"]), *said])


def _silent(value: object) -> bool:
    return value is None or value == ""


def _nothing(value: object) -> bool:
    """What tells a person nothing about an exchange: also what did not happen, and what took no time."""
    return _silent(value) or (isinstance(value, bool | int | float) and abs(value) < _LEAST)


def _word(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return value if isinstance(value, str) else json.dumps(value)
