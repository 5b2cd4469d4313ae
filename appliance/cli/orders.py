"""`appliance load`, `unload`, `restart`, `drain`, `reload`: a running server, asked over its HTTP API."""

import argparse
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from appliance.cli import reach

_ORDERS = {
    "load": "start a model, also out of quarantine, and wait until it is ready",
    "unload": "stop a model when its requests have ended",
    "restart": "unload a model and load it again",
    "drain": "give a model no new work, and stop it when what it has is done",
}
_EXIT = "Exit codes: 0 done, 1 it could not be done, 2 a mistake in the call or no answer."


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands."""
    for name, words in _ORDERS.items():
        parser = commands.add_parser(name, help=words, epilog=_EXIT)
        parser.add_argument("name", metavar="NAME", help="a runtime, or one replica of it (name@2)")
        _reach(parser)
        parser.set_defaults(run=_order, order=name)
    again = commands.add_parser("reload", help="put the configuration file into effect", epilog=_EXIT)
    again.add_argument("--dry-run", action="store_true", help="only say what would change")
    _reach(again)
    again.set_defaults(run=_reload)


def _reach(parser: argparse.ArgumentParser) -> None:
    reach.add_options(parser)
    parser.add_argument("--json", action="store_true", help="print what the server answered")


def _order(args: argparse.Namespace) -> int:
    answer = reach.ask(args, "POST", f"/ops/v1/{args.order}/{quote(args.name, safe='@/')}")
    if args.json:
        print(json.dumps(answer, indent=2))
    else:
        done = "" if answer["changed"] else " already"
        print(f"{args.name} is{done} {answer['state']}" + (f": {answer['detail']}" if answer["detail"] else ""))
        if not answer["ok"]:
            print(f"Next: appliance logs {args.name}")
    return 0 if answer["ok"] else 1


def _reload(args: argparse.Namespace) -> int:
    answer = reach.ask(args, "POST", "/ops/v1/reload" + ("?dry_run=1" if args.dry_run else ""))
    if args.json:
        print(json.dumps(answer, indent=2))
        return 0 if answer["ok"] else 1
    if not answer["ok"]:
        print("\n".join(["Nothing has changed: the new configuration is refused.", *answer["problems"]]))
        return 1
    differences = list(changes(answer))
    print("\n".join(differences or ["Nothing differs."]))
    if not args.dry_run:
        print("It is in effect.")
    elif differences:
        print("Next: appliance reload")
    return 0


def changes(reloaded: dict[str, Any]) -> Iterator[str]:
    """What a new configuration changes, a line each."""
    for change in reloaded["runtimes"]:
        settings = f" ({', '.join(change['settings'])})" if change["settings"] else ""
        yield f"runtime {change['runtime']}: {change['action']}{settings}: {change['detail']}"
    for what in ("keys", "models", "backends", "providers", "guardrails", "settings"):
        if reloaded.get(what):
            yield f"{what}: {', '.join(reloaded[what])}"
    if reloaded["restart"]:
        yield f"after a restart of the appliance only: {', '.join(reloaded['restart'])}"
