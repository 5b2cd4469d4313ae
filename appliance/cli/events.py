"""`appliance events`: what has happened, once or as it happens."""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from appliance.cli import reach
from appliance.cli.logs import SILENCE, told
from appliance.errors import OperatorError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "events",
        help="say what has happened, and go on as it happens",
        description="Print changes of state, crashes, orders, reloads, keys and faults, oldest first.",
        epilog="Exit codes: 0 done, 1 the server has gone away, 2 a mistake in the call or no answer, 130 Ctrl-C.",
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes")
    parser.add_argument("--since", metavar="WHEN", help="what came after that: 2h, 30m, 7d, 2026-11-25T10:00, or an id")
    parser.add_argument("--last", type=int, metavar="N", help="how many, at most 1000; default 20, all with --since")
    parser.add_argument("--kind", metavar="KIND", help="only these, with commas between: replica, gpu.fault")
    parser.add_argument("--subject", metavar="NAME", help="only about this")
    parser.add_argument("--json", action="store_true", help="print an object a line")
    reach.add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print events; see the exit codes above.

    Raises:
        OperatorError: see the exit code 2.
    """
    now = time.clock_gettime(time.CLOCK_REALTIME)
    asked = {"kind": args.kind, "subject": args.subject}
    if args.since is not None:
        asked["since"] = str(place(args.since, now))
    if args.last is not None or args.since is None:
        asked["limit"] = str(20 if args.last is None else args.last)
    query = {name: value for name, value in asked.items() if value is not None}
    if args.follow:
        return _follow(args, query)
    while True:
        page = {"limit": "1000"} | query
        found = reach.ask(args, "GET", f"/ops/v1/events?{urlencode(page)}")["events"]
        for event in found:
            _show(event, as_json=args.json)
        if "limit" in query or len(found) < 1000:
            return 0
        query["since"] = str(found[-1]["id"])


def _follow(args: argparse.Namespace, query: Mapping[str, str]) -> int:
    began = False
    try:
        with reach.asked(args, "GET", f"/ops/v1/events?follow=1&{urlencode(query)}", silence=SILENCE) as reply:
            if reply.status_code != 200:
                reach.answered(reply)
            began = True
            for name, value in told(reply.iter_lines()):
                if name in ("end", "missed"):
                    print(f"appliance: {value['message']}", file=sys.stderr)
                else:
                    _show(value, as_json=args.json)
    except OperatorError as error:
        if not began:
            raise
        print(f"appliance: {error}", file=sys.stderr)
        return 1
    return 1


def place(text: str, now: float) -> int:
    """The id that stands for a time: ids are milliseconds since 1970.

    Args:
        text: a span before now (`2h`), a time, or an id.
        now: seconds since 1970.

    Raises:
        OperatorError: it is none of these.
    """
    number, unit = text[:-1], text[-1:]
    if unit in _UNITS and number.isascii() and number.isdecimal() and len(number) < 7:
        return max(int((now - int(number) * _UNITS[unit]) * 1000), 0)
    if text.isascii() and text.isdecimal() and 9 < len(text) < 17:
        return int(text)
    try:
        return max(int(datetime.fromisoformat(text).timestamp() * 1000) - 1, 0)
    except (ValueError, OverflowError):
        raise OperatorError(
            f'"{text[:60]}" is no time: use 2h, 30m, 7d, 2026-11-25T10:00 or the id of an event'
        ) from None


def _show(event: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(event), flush=True)
        return
    when = datetime.fromisoformat(event["time"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    words = " ".join(str(event["words"]).split())
    text = f"{when}  {event['kind']:<18} {event['subject']:<20} {words}"
    print(text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text), flush=True)
