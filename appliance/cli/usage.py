"""`appliance usage`: who used what."""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from appliance.cli import reach
from appliance.cli.tables import show, table
from appliance.config.file import DEFAULT_CONFIG
from appliance.config.load import load_config
from appliance.config.secrets import environment_keys, process_environment
from appliance.errors import OperatorError
from appliance.usage.report import COLUMNS, By, Filter, sums, today
from appliance.usage.store import FILE
from appliance.usage.wanted import FIGURES, columns, comma_separated, day, objects


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "usage",
        help="say who used what",
        description="Requests and tokens, from the usage file, which works beside a running server and without one; "
        "with --url from a server over the network. Days are UTC.",
        epilog="Exit codes: 0 done, 2 there is no usage file, it cannot be read, or no server answers.",
    )
    reach.add_options(parser)
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
    if args.url or args.key_file:
        return _told(args, by)
    found = sums(_state_dir(args) / FILE, wanted, by)
    if args.csv:
        print(comma_separated(by, found), end="")
    else:
        _show(args, by, objects(by, found))
    return 0


def _told(args: argparse.Namespace, by: list[By]) -> int:
    """What a server over the network says."""
    asked = {name: getattr(args, name) for name in ("since", "until", "key", "model", "target")}
    query = {"by": ",".join(by)} | {name: str(value) for name, value in asked.items() if value is not None}
    if args.csv:
        with reach.asked(args, "GET", f"/ops/v1/usage?{urlencode(query | {'format': 'csv'})}") as reply:
            if reply.headers.get("content-type", "").startswith("text/csv"):
                print(reply.read().decode(), end="")
                return 0
            reach.answered(reply)  # says why
            raise OperatorError(f"{reply.url} gave no comma-separated values")
    _show(args, by, reach.ask(args, "GET", f"/ops/v1/usage?{urlencode(query)}")["usage"])
    return 0


def _show(args: argparse.Namespace, by: list[By], rows: Sequence[Mapping[str, Any]]) -> None:
    if args.json:
        print(json.dumps({"usage": rows}, indent=2))
    else:
        _print(by, rows)


def _state_dir(args: argparse.Namespace) -> Path:
    if args.state_dir:
        return Path(args.state_dir)
    keys = environment_keys(process_environment())
    return Path(load_config(Path(args.config or DEFAULT_CONFIG), has_environment_keys=bool(keys)).server.state_dir)


def _day(text: str) -> date:
    try:
        return day(text, today(time.clock_gettime(time.CLOCK_REALTIME)))
    except OperatorError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _print(by: list[By], found: Sequence[Mapping[str, Any]]) -> None:
    if not found:
        print("Nothing was used. Next: ask for less, for instance without --since.")
        return
    shown = table(*(name.upper() for name in by), *(f">{figure.upper()}" for figure in FIGURES))
    for row in found:
        shown.add_row(*(str(row[name]) for name in by), *(f"{row[name]:,}" for name in FIGURES))
    show(shown)
    if any(row["estimated"] for row in found):
        print("ESTIMATED tokens were counted here because the engine never said; they are part of INPUT and OUTPUT.")
