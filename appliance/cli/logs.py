"""`appliance logs`: what a model's processes say, once or as it comes."""

import argparse
import json
import select
import sys
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

from appliance.cli import reach
from appliance.errors import OperatorError
from appliance.supervisor.state_dir import LOGS

SILENCE = 60.0  # seconds; a server that has nothing to tell says so every 15 s


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "logs",
        help="print the output of a model's processes",
        description="Print the last lines of what a model's processes write; with -f go on until Ctrl-C. It goes on "
        "through restarts of the model; a line on standard error says when another process has begun.",
        epilog="Exit codes: 0 done, 1 the server has gone away, 2 a mistake in the call or no answer, 130 Ctrl-C.",
    )
    parser.add_argument("name", metavar="NAME", help="a runtime, or one replica of it (name@2)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes")
    parser.add_argument("--last", type=int, default=50, metavar="N", help="how many lines, at most 200; default 50")
    parser.add_argument("--json", action="store_true", help="print what the server answered; with -f an object a line")
    reach.add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print lines; see the exit codes above.

    Raises:
        OperatorError: see the exit code 2.
    """
    path = f"/ops/v1/logs/{quote(args.name, safe='@/')}?last={args.last}"
    try:
        if args.follow:
            return _follow(args, f"{path}&follow=1")
        answer = reach.ask(args, "GET", path)
    except reach.NobodyError as error:
        kept = reach.state_dir(args) / LOGS
        raise OperatorError(f"{error} What models have written is kept in {kept}, a file for each replica.") from None
    print(json.dumps(answer, indent=2) if args.json else "\n".join(answer["lines"]))
    return 0


def _follow(args: argparse.Namespace, path: str) -> int:
    began = False
    try:
        with reach.asked(args, "GET", path, silence=SILENCE) as reply:
            if reply.status_code != 200:
                reach.answered(reply)
            began = True
            several: set[str] = set()
            for event, value in told(reply.iter_lines()):
                if event == "end":
                    print(f"appliance: {value['message']}", file=sys.stderr)
                    return 0
                several.add(value["replica"])
                _show(value, named=len(several) > 1, as_json=args.json)
    except OperatorError as error:
        if not began:
            raise
        print(f"appliance: {error}", file=sys.stderr)
        return 1
    print("appliance: the server has ended", file=sys.stderr)
    return 1


def told(lines: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events of a stream as name and value. Each comment is an occasion to see whether anybody reads us."""
    event = ""
    for line in lines:
        name, _, value = line.partition(": ")
        match name:
            case "event":
                event = value
            case "data":
                yield event, json.loads(value)
                event = ""
            case "":
                _leave_with_the_reader()


def _show(piece: dict[str, Any], *, named: bool, as_json: bool) -> None:
    if as_json:
        print(json.dumps(piece), flush=True)
        return
    prefix = f"{piece['replica']} | " if named else ""
    if piece["fresh"]:
        print(f"appliance: {piece['replica']}: another process has begun", file=sys.stderr)
    if piece["missed"]:
        print(f"appliance: {piece['replica']}: {piece['missed']} lines are left out here", file=sys.stderr)
    print("\n".join(prefix + line for line in piece["lines"]), flush=True)


def _leave_with_the_reader() -> None:
    """End as a write would, when the other end of a pipe that we write to is closed."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if any(seen & select.POLLERR for _, seen in poll.poll(0)):
        raise BrokenPipeError
