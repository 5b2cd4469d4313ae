"""`appliance _gpus`: talks to the GPU driver for a running appliance (not in the help)."""

import argparse
import sys
from functools import partial
from pathlib import Path

from appliance.gpus.worker import source, work


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = subparsers.add_parser("_gpus", description="answers each line with the state of the GPUs as JSON")
    parser.add_argument("--file", metavar="PATH", default="", help="a JSON file in place of a driver")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Answer until the questions end."""
    file = Path(args.file) if args.file else None
    work(partial(source, file), sys.stdin.buffer, sys.stdout.buffer)
    return 0
