"""Sums of the usage file. Reads beside a running server, and changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal

from appliance.errors import OperatorError
from appliance.storage.database import query

By = Literal["day", "key", "model", "target"]
COLUMNS: tuple[By, ...] = ("day", "key", "model", "target")
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which days, keys, models and targets; None is all of them. Days are UTC, both ends included."""

    since: date | None = None
    until: date | None = None
    key: str | None = None
    model: str | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Sum:
    """One line of a report.

    Attributes:
        group: what the line is about, in the order that was asked for.
        estimated: tokens, part of input and output, that no engine has counted.
    """

    group: tuple[str, ...]
    requests: int
    failed: int
    input: int
    output: int
    cached: int
    estimated: int


def sums(path: Path, wanted: Filter, by: Sequence[By]) -> list[Sum]:
    """The sums, in the order of their groups.

    Raises:
        OperatorError: there is no usage file, or it cannot be read.
    """
    if not path.exists():
        raise OperatorError(f"no usage has been recorded yet: {path} does not exist")
    where, values = _where(wanted)
    names = ", ".join(by)
    group, order = (f" GROUP BY {names}", f" ORDER BY {names}") if by else ("", "")
    statement = (
        f"SELECT {names + ', ' if by else ''}sum(requests), sum(failed), sum(input), sum(output), sum(cached), "  # noqa: S608 - names of a closed list
        f"sum(estimated) FROM days{where}{group}{order}"
    )
    return [_sum(row, by) for row in query(path, statement, values) if row[len(by)] is not None]


def spent(path: Path, by: Literal["key", "model"], day: int, month: int) -> dict[str, tuple[int, int]]:
    """Tokens, input and output, since a day and since another one before it, by name; nothing where there is no file.

    Args:
        path: the usage file.
        by: whose.
        day: days since 1970, UTC.
        month: the first day of its month, likewise.

    Raises:
        OperatorError: it cannot be read.
    """
    if not path.exists():
        return {}
    statement = (
        f"SELECT {by}, sum(iif(day >= ?, input + output, 0)), sum(input + output) FROM days "  # noqa: S608 - as above
        f"WHERE day >= ? GROUP BY {by}"
    )
    return {str(name): (int(today), int(since)) for name, today, since in query(path, statement, [day, month])}


def today(now: float) -> date:
    """The day of a time in seconds since 1970, in UTC."""
    return datetime.fromtimestamp(now, UTC).date()


def _where(wanted: Filter) -> tuple[str, list[object]]:
    terms = [
        ("day >= ?", None if wanted.since is None else (wanted.since - _EPOCH).days),
        ("day <= ?", None if wanted.until is None else (wanted.until - _EPOCH).days),
        ("key = ?", wanted.key),
        ("model = ?", wanted.model),
        ("target = ?", wanted.target),
    ]
    used = [(text, value) for text, value in terms if value is not None]
    return (" WHERE " + " AND ".join(text for text, _ in used) if used else ""), [value for _, value in used]


def _sum(row: Sequence[int | str], by: Sequence[By]) -> Sum:
    group = tuple(
        (_EPOCH + timedelta(days=int(value))).isoformat() if name == "day" else str(value)
        for name, value in zip(by, row, strict=False)
    )
    return Sum(group, *(int(value) for value in row[len(by) :]))
