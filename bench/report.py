"""Medians, ratios and the table: values in, text out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from bench.work import Figures, Work

_DISTURBED = 3.0  # percent of the gateway's CPU: more than that is worth a line
Rounds = Mapping[str, Sequence[Figures]]  # by gateway


def medians(rounds: Sequence[Figures]) -> Figures:
    """The median of every figure over the rounds that have it; errors are added up."""
    names = dict.fromkeys(name for figures in rounds for name in figures)
    found = {name: [figures[name] for figures in rounds if name in figures] for name in names}
    return {name: sum(got) if name.startswith("error") else median(got) for name, got in found.items()}


def number(value: float | None) -> str:
    """A figure with three digits or more, never fewer before the point."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def table(columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """Text in columns: the first to the left, the others to the right."""
    lines = [("", *columns), *((name, *cells) for name, cells in rows.items())]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns) + 1)]
    return "\n".join(
        "  "
        + "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in lines
    )


def ratios(work: Work, results: Mapping[str, Figures]) -> list[str]:
    """The first gateway beside each other one, in the columns that the work compares."""
    first, *others = results
    lines = []
    for other in others:
        parts = []
        for column in work.ratios:
            mine, theirs = results[first].get(column), results[other].get(column)
            if mine and theirs:
                good = "higher" if column.endswith("/s") else "lower"
                parts.append(f"{column} x{mine / theirs:.2f} ({good} is better)")
        lines += [f"  {first} / {other}: {', '.join(parts)}"] if parts else []
    return lines


def describe(work: Work, rounds: Rounds) -> str:
    """The table of one work, its ratios, and what went wrong."""
    results = {name: medians(of_one) for name, of_one in rounds.items() if of_one}
    head = work.columns[0]
    rows: dict[str, list[str]] = {}
    wrong: list[str] = []
    for name, result in results.items():
        spread = [figures[head] for figures in rounds[name] if head in figures]
        rows[name] = [*(number(result.get(column)) for column in work.columns), f"{result['errors']:.0f}"]
        if len(spread) > 1:
            rows[name].append(f"{number(min(spread))} - {number(max(spread))}")
        kinds = {kind.removeprefix("error "): count for kind, count in result.items() if kind.startswith("error ")}
        wrong += [f"  {name}: {count:.0f} x {kind}" for kind, count in kinds.items()]
        if result.get("others %", 0) > _DISTURBED:
            wrong.append(f"  {name} was disturbed: other programs took {result['others %']:.0f} % of its CPU")
    columns = [*work.columns, "errors"]
    if any(len(cells) > len(columns) for cells in rows.values()):
        columns.append(f"{head.removesuffix(' ms')} of rounds")
        rows = {name: cells if len(cells) == len(columns) else [*cells, "-"] for name, cells in rows.items()}
    return "\n".join([table(columns, rows), *ratios(work, results), *wrong])


def save(path: Path, machine: Mapping[str, str], versions: Mapping[str, str], rounds: Mapping[str, Rounds]) -> None:
    """Write everything as JSON: all rounds and their medians."""
    rows = {
        work: {name: {"median": medians(of_one), "rounds": of_one} for name, of_one in by_gateway.items() if of_one}
        for work, by_gateway in rounds.items()
    }
    text = json.dumps({"machine": machine, "versions": versions, "rows": rows}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
