"""`appliance check FILE`: what is wrong with a configuration, before anything is started with it."""

import argparse
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from appliance.config.check import printable
from appliance.config.load import Problem, count, inspect, read_text
from appliance.config.masking import masked
from appliance.config.secrets import environment_keys, process_environment
from appliance.errors import OperatorError
from appliance.guardrails.check import findings as guardrails


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "check",
        help="say what is wrong with a configuration file",
        description="Say what is wrong with a configuration file. Nothing is started and nothing is connected to.",
        epilog="Exit codes: 0 it is valid, 1 it has problems, 2 it cannot be read.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the TOML file")
    parser.add_argument("--json", action="store_true", help="print the problems as one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the problems of `args.file`; 0 without any, 1 with some, 2 when the file cannot be read."""
    file: Path = args.file
    try:
        text = read_text(file)
    except OperatorError as error:
        print(f"{error}\nNext: name a file that exists and that you may read.", file=sys.stderr)
        return 2
    has_keys = bool(environment_keys(process_environment()))
    _, problems = inspect(text, has_environment_keys=has_keys, also=(guardrails,))
    if args.json:
        print(json.dumps(_report(file, problems), indent=2))
    else:
        _print(file, text, problems)
    return 1 if problems else 0


def _report(file: Path, problems: list[Problem]) -> dict[str, object]:
    return {"file": str(file), "ok": not problems, "problems": [problem.facts() for problem in problems]}


def shown(text: str) -> list[str]:
    """The lines of a configuration without its secrets; of a text that is no TOML, what stands before the values."""
    given = text.splitlines()
    try:
        lines = masked(text).text.splitlines()
    except ValueError:
        return [name + (equals and "= …") for name, equals, _ in (line.partition("=") for line in given)]
    return lines if len(lines) == len(given) else []  # a secret had several lines: numbers would be wrong


def for_a_person(file: str, problem: Problem, lines: Sequence[str]) -> Iterator[str]:
    """Where, what, the line itself, and what to do."""
    yield f"{file}:{problem.line}:{problem.column}  {printable(problem.what)}"
    if 0 < problem.line <= len(lines):
        yield f"{problem.line:5} │ {printable(lines[problem.line - 1])}"
    yield f"      → {printable(problem.fix)}"


def _print(file: Path, text: str, problems: list[Problem]) -> None:
    quoted = shlex.quote(str(file))
    if sys.stdout.isatty():
        lines = shown(text) if problems else []
        for problem in problems:
            print(*for_a_person(str(file), problem, lines), sep="\n")
    else:
        for problem in problems:
            print(problem.render(str(file)))
    if problems:
        print(f"{count(problems)}. Next: correct the file, then run: appliance check {quoted}")
    else:
        print(f"{file} is valid. Next: appliance serve --config {quoted}")
