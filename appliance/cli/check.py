"""`appliance check FILE`: what is wrong with a configuration, before anything is started with it."""

import argparse
import json
import shlex
import sys
from pathlib import Path

from appliance.config.load import Problem, count, inspect, read_text
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
        _print(file, problems)
    return 1 if problems else 0


def _report(file: Path, problems: list[Problem]) -> dict[str, object]:
    return {"file": str(file), "ok": not problems, "problems": [problem.facts() for problem in problems]}


def _print(file: Path, problems: list[Problem]) -> None:
    quoted = shlex.quote(str(file))
    for problem in problems:
        print(problem.render(str(file)))
    if problems:
        print(f"{count(problems)}. Next: correct the file, then run: appliance check {quoted}")
    else:
        print(f"{file} is valid. Next: appliance serve --config {quoted}")
