"""A proposal for the configuration file, as a page shows it before anything is written. Pure."""

from collections.abc import Sequence
from typing import Any

from appliance.config.load import Problem
from appliance.config.locate import dotted
from appliance.editing import Edited

_TONES = {"+": "plus", "-": "minus", "@": "place"}
_AROUND = 2  # lines before and after a faulty one


def proposal(edited: Edited, text: str | None = None) -> dict[str, Any]:
    """What it would change, what is wrong with it, and whether it may be written.

    Args:
        edited: what a check has come to.
        text: the proposal itself, for the lines around each problem.
    """
    return {
        "ok": edited.ok,
        "allowed": edited.allowed,
        "etag": edited.etag,
        "diff": diff_lines(edited.diff),
        "problems": problems(edited.problems, text),
        "refusals": [] if edited.problems else edited.reload.problems,
        "effects": edited.reload.words().split("; ") if edited.ok else [],
    }


def diff_lines(diff: str) -> list[dict[str, str]]:
    """Each line of a unified difference with its tone; the two lines that name the files are left out."""
    lines = diff.splitlines()[2:]
    return [{"text": line, "tone": _TONES.get(line[:1], "")} for line in lines]


def problems(found: Sequence[Problem], text: str | None) -> list[dict[str, Any]]:
    """Each problem with its place and the lines around it."""
    lines = text.splitlines() if text is not None else []
    return [
        {
            "line": problem.line,
            "column": problem.column,
            "setting": dotted(problem.path),
            "what": problem.what,
            "fix": problem.fix,
            "excerpt": [
                {"number": number, "text": lines[number - 1], "wrong": number == problem.line}
                for number in range(max(1, problem.line - _AROUND), min(len(lines), problem.line + _AROUND) + 1)
            ],
        }
        for problem in found
    ]


def by_field(found: Sequence[Problem], section: str) -> dict[str, str]:
    """What is wrong with the fields of the one entry of a section that somebody changes, by the field's name."""
    words: dict[str, str] = {}
    for problem in found:
        if len(problem.path) > 2 and problem.path[0] == section:
            words.setdefault(str(problem.path[2]), f"{problem.what}: {problem.fix}")
    return words
