"""`appliance _engine`: run the scripted model server (for tests, the benchmark and `selftest`; not in the help)."""

import argparse
import json
import os
from dataclasses import Field, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import trio

from appliance.errors import OperatorError
from appliance.scripted.process import free_memory_of
from appliance.scripted.process import run as run_engine
from appliance.scripted.script import Script


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command: one flag for each field of `Script`."""
    parser = subparsers.add_parser("_engine", description="a model server without a model; each flag is a way to fail")
    types = get_type_hints(Script)
    for field in fields(Script):
        _add_flag(parser, field, types[field.name])
    parser.add_argument("--print-env", metavar="PATH", default="", help="write the environment there as JSON")
    parser.add_argument("--free-memory-of", metavar="PID", type=int, help="play the driver for another such process")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal or the script ends it. Returns the exit code.

    Raises:
        OperatorError: the address cannot be listened on.
    """
    if args.free_memory_of is not None:
        free_memory_of(args.free_memory_of, Path(args.gpu_file), args.gpu_release)
        return 0
    if args.print_env:
        environment = dict(os.environ)  # noqa: TID251 - reporting its environment is the point of this flag
        Path(args.print_env).write_text(json.dumps(environment), encoding="utf-8")
    script = Script(**{field.name: getattr(args, field.name) for field in fields(Script)})
    try:
        return trio.run(partial(run_engine, script))
    except* OSError as group:
        problem = f"cannot listen: {_first(group)}"
    raise OperatorError(problem)


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _add_flag(parser: argparse.ArgumentParser, field: "Field[Any]", kind: Any) -> None:
    flag = "--" + field.name.replace("_", "-")
    meaning = field.metadata["help"]
    if kind is bool:
        parser.add_argument(flag, action="store_true", help=meaning)
    elif get_origin(kind) is Literal:
        # Without a value, the first of its words that is one.
        words = [word for word in get_args(kind) if word]
        parser.add_argument(
            flag, nargs="?", const=words[0], default=field.default, choices=get_args(kind), help=meaning
        )
    else:
        plain = next((kind_of for kind_of in get_args(kind) if kind_of is not type(None)), kind)
        parser.add_argument(flag, type=plain, default=field.default, help=meaning)
