"""`appliance version`."""

import argparse
import json
import platform

from appliance import __version__


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("version", help="print the version")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the version; always 0."""
    if args.json:
        print(json.dumps({"version": __version__, "python": platform.python_version()}))
    else:
        print(f"appliance {__version__} (Python {platform.python_version()})")
    return 0
