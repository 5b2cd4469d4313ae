"""`appliance status`: what every model, process, backend and GPU of a running server does."""

import argparse
import json

from appliance.cli import reach
from appliance.cli.board import board, notes
from appliance.cli.tables import columns, show


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "status",
        help="say what every model and process does",
        epilog="Exit codes: 0 done, 2 a mistake in the call or no answer.",
    )
    reach.add_options(parser)
    parser.add_argument("--json", action="store_true", help="print what the server answered")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the tables; 0.

    Raises:
        OperatorError: nothing answers.
    """
    state = reach.ask(args, "GET", "/ops/v1/state")
    if args.json:
        print(json.dumps(state, indent=2))
        return 0
    if not any(state.get(kind) for kind in ("models", "replicas", "backends")):
        print("It serves, and has no model yet. Next: write one into the configuration file, then: appliance reload")
    show(board(state, columns()))
    told = list(notes(state))
    if told:
        print("", *told, sep="\n")
    return 0
