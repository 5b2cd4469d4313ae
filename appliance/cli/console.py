"""`appliance console`: a link that logs a browser into the console, once."""

import argparse
import json

from appliance.cli import reach


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "console",
        help="print a link that logs into the console",
        description="Print a link that logs a browser into the console. It works once, and soon only. Whoever may "
        "run this command gives orders already; no key is needed, and none is in the link.",
        epilog="Exit codes: 0 done, 2 a mistake in the call or no answer.",
    )
    parser.add_argument("--json", action="store_true", help="print what the server answered")
    reach.add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the link; 0.

    Raises:
        OperatorError: see the exit code 2.
    """
    answer = reach.ask(args, "POST", "/ops/v1/console/link")
    if args.json:
        print(json.dumps(answer, indent=2))
        return 0
    root = (args.url or answer["url"]).rstrip("/")
    print(f"{root}{answer['path']}")
    print(
        f"\nOpen it within {answer['seconds'] / 60:g} minutes; it works once. Without a link: log in with an admin key."
    )
    return 0
