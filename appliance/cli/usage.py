"""`appliance usage`: who used what."""

import argparse
import json
import sys
import time
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Table

from appliance.cli.serve import DEFAULT_CONFIG
from appliance.config.load import load_config
from appliance.config.secrets import environment_keys, process_environment
from appliance.errors import OperatorError
from appliance.usage.report import COLUMNS, By, Filter, Sum, sums, today
from appliance.usage.store import FILE
from appliance.usage.wanted import FIGURES, columns, comma_separated, day, figures, objects


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "usage",
        help="say who used what",
        description="Requests and tokens, from the usage file; works beside a running server. Days are UTC.",
        epilog="Exit codes: 0 done, 2 there is no usage file or it cannot be read.",
    )
    parser.add_argument("--config", default=DEFAULT_CONFIG, metavar="FILE", help=f"default {DEFAULT_CONFIG}")
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help="instead of the one in the configuration")
    parser.add_argument(
        "--by", default="key,model", metavar="WHAT", help=f"any of {','.join(COLUMNS)}; default key,model"
    )
    parser.add_argument("--since", type=_day, metavar="DAY", help='first day: 2026-11-24, "today", or "7d" ago')
    parser.add_argument("--until", type=_day, metavar="DAY", help="last day")
    parser.add_argument("--key", help="only this key, by its name")
    parser.add_argument("--model", help="only this model")
    parser.add_argument("--target", help="only this target")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object")
    form.add_argument("--csv", action="store_true", help="print comma-separated values with a head line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the sums; 0 also when there are none."""
    by = columns(args.by)
    wanted = Filter(args.since, args.until, args.key, args.model, args.target)
    found = sums(_state_dir(args) / FILE, wanted, by)
    if args.json:
        print(json.dumps({"usage": objects(by, found)}, indent=2))
    elif args.csv:
        print(comma_separated(by, found), end="")
    else:
        _print(by, found)
    return 0


def _state_dir(args: argparse.Namespace) -> Path:
    if args.state_dir:
        return Path(args.state_dir)
    keys = environment_keys(process_environment())
    return Path(load_config(Path(args.config), has_environment_keys=bool(keys)).server.state_dir)


def _day(text: str) -> date:
    try:
        return day(text, today(time.clock_gettime(time.CLOCK_REALTIME)))
    except OperatorError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _print(by: list[By], found: list[Sum]) -> None:
    if not found:
        print("Nothing was used. Next: ask for less, for instance without --since.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in by:
        table.add_column(name.upper(), overflow="fold")
    for figure in FIGURES:
        table.add_column(figure.upper(), justify="right", no_wrap=True)
    for row in found:
        table.add_row(*row.group, *(f"{value:,}" for value in figures(row).values()))
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    console.print(table)
    if any(row.estimated for row in found):
        print("ESTIMATED tokens were counted here because the engine never said; they are part of INPUT and OUTPUT.")
