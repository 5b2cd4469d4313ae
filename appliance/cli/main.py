"""The parser of the command line, and how mistakes are told."""

import argparse
import sys
from collections.abc import Sequence

from appliance import __version__
from appliance.cli import (
    check,
    completion,
    demo,
    engine,
    gpus,
    install,
    logs,
    models,
    orders,
    reap,
    selftest,
    serve,
    usage,
    version,
)
from appliance.errors import OperatorError


def build_parser() -> argparse.ArgumentParser:
    """Every command with its options."""
    parser = argparse.ArgumentParser(
        prog="appliance",
        description="Serves an organisation's own language models: launches engines, gives one OpenAI-compatible URL.",
        epilog="Start with `appliance demo`. Exit codes: 0 done, 1 failed, 2 a mistake of yours.",
    )
    parser.add_argument("--version", action="version", version=f"appliance {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in (serve, check, orders, logs, models, usage, demo, install, reap, selftest, version, engine, gpus):
        command.add_parser(commands)
    completion.add_parser(commands, parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    args = build_parser().parse_args(argv)
    try:
        code: int = args.run(args)
    except OperatorError as error:
        print(f"appliance: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone; Python would complain at exit
        return 1
    return code
