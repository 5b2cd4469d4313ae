"""`appliance upgrade NEW`: another binary takes the running server's place, and models and clients notice nothing."""

import argparse
import json
import shutil
from pathlib import Path

from appliance.cli import reach
from appliance.config.file import DEFAULT_CONFIG

_PATIENCE = 60.0  # seconds


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "upgrade",
        help="put another binary in the running server's place",
        description="The running server lets NEW test itself, starts it, and hands it its sockets, limits and models. "
        "Models go on, no connection is refused, and answers under way are finished by the old process within `drain`. "
        "When anything goes wrong, the old process stays the server. Only on the server's own machine.",
        epilog="Exit codes: 0 NEW is the server now, 1 it is not and the old one stays, 2 a mistake in the call or no "
        "answer.",
    )
    parser.add_argument("new", metavar="NEW", help="the binary, which may be the file of the running one, replaced")
    parser.add_argument("--config", metavar="FILE", help=f"of the server; default {DEFAULT_CONFIG}")
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help="of the server")
    parser.add_argument(
        "--patience",
        type=float,
        default=_PATIENCE,
        metavar="SECONDS",
        help=f"how long NEW may take to get ready; default {_PATIENCE:g}",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run, url="", key_file=None)


def run(args: argparse.Namespace) -> int:
    """Order it; 0 when NEW is the server, 1 when the old one stays.

    Raises:
        OperatorError: no server answers.
    """
    binary = str(Path(shutil.which(args.new) or args.new).absolute())
    answer = reach.ask(args, "POST", "/ops/v1/upgrade", {"binary": binary, "patience": args.patience})
    if args.json:
        print(json.dumps(answer, indent=2))
    elif answer["ok"]:
        print(f"{binary} is the server now: version {answer['version']}, pid {answer['pid']}.")
        print("The old process finishes its answers and ends. A restart runs what the service's unit names.")
        print("Next: appliance status")
    else:
        print(f"{binary} is refused, and the old process stays the server: {answer['detail']}")
        print("Next: mend that and run it again; until then nothing has changed.")
    return 0 if answer["ok"] else 1
