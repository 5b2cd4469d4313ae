"""What somebody wants of the sums, in words, and the sums as programs read them. Pure."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, timedelta

from appliance.errors import OperatorError
from appliance.usage.report import COLUMNS, By, Sum

FIGURES = ("requests", "failed", "input", "output", "cached", "estimated")


def columns(text: str) -> list[By]:
    """Columns to group by, from their names with commas between; none from an empty text.

    Raises:
        OperatorError: one of them is none.
    """
    names: list[By] = []
    for name in filter(None, (part.strip() for part in text.split(","))):
        column = next((column for column in COLUMNS if column == name), None)
        if column is None:
            raise OperatorError(f'"{name[:60]}" is not one of {", ".join(COLUMNS)}')
        if column not in names:
            names.append(column)
    return names


def day(text: str, today: date) -> date:
    """A day from `2026-11-24`, `today`, or `7d` for seven days before today.

    Raises:
        OperatorError: it is none of these.
    """
    if text == "today":
        return today
    if text.endswith("d") and text[:-1].isascii() and text[:-1].isdecimal() and len(text) < 6:
        return today - timedelta(days=int(text[:-1]))
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise OperatorError(f'"{text[:60]}" is no day: use 2026-11-24, "today" or "7d"') from None


def figures(row: Sum) -> dict[str, int]:
    """What was counted, by name."""
    facts = asdict(row)
    return {name: facts[name] for name in FIGURES}


def objects(by: Sequence[By], rows: Sequence[Sum]) -> list[dict[str, object]]:
    """One object for each line."""
    return [{**dict(zip(by, row.group, strict=True)), **figures(row)} for row in rows]


def comma_separated(by: Sequence[By], rows: Sequence[Sum]) -> str:
    """A head line and the lines."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*by, *FIGURES])
    writer.writerows([*row.group, *figures(row).values()] for row in rows)
    return text.getvalue()
