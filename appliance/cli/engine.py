"""`appliance _engine`: run the scripted model server (for tests, the benchmark and `selftest`; not in the help)."""

import argparse
import json
import os
from dataclasses import MISSING, Field, fields
from functools import partial
from pathlib import Path
from typing import Any

import trio

from appliance.errors import OperatorError
from appliance.scripted.engine import Script
from appliance.scripted.engine import run as run_engine

_TYPES: dict[object, type] = {int: int, float: float, str: str, int | None: int}


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command: one flag for each field of `Script`."""
    parser = subparsers.add_parser("_engine", description="a model server without a model; each flag is a way to fail")
    for field in fields(Script):
        _add_flag(parser, field)
    parser.add_argument("--print-env", metavar="PATH", default="", help="write the environment there as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal or the script ends it. Returns the exit code.

    Raises:
        OperatorError: the address cannot be listened on.
    """
    if args.print_env:
        environment = dict(os.environ)  # noqa: TID251 - reporting its environment is the point of this flag
        Path(args.print_env).write_text(json.dumps(environment), encoding="utf-8")
    script = Script(**{field.name: getattr(args, field.name) for field in fields(Script)})
    try:
        return trio.run(partial(run_engine, script))
    except* OSError as group:
        problem = f"cannot listen: {group.exceptions[0]}"
    raise OperatorError(problem)


def _add_flag(parser: argparse.ArgumentParser, field: "Field[Any]") -> None:
    flag = "--" + field.name.replace("_", "-")
    if field.type is bool:
        parser.add_argument(flag, action="store_true")
    elif field.name == "garbage":
        parser.add_argument(flag, nargs="?", const="http", default="", choices=("", "http", "event"))
    else:
        default = None if field.default is MISSING else field.default
        parser.add_argument(flag, type=_TYPES[field.type], default=default)
