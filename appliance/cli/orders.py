"""`appliance status`, `load`, `unload`, `restart`, `drain`, `reload`: a running server, asked over its HTTP API."""

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.table import Table

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
    status = commands.add_parser("status", help="say what every model process does", epilog=_EXIT)
    _reach(status)
    status.set_defaults(run=_status)
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


def _status(args: argparse.Namespace) -> int:
    answer = reach.ask(args, "GET", "/ops/v1/state")
    if args.json:
        print(json.dumps(answer, indent=2))
        return 0
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("REPLICA", "STATE", "FOR", "BUSY", "STARTS", "PID", "WHY"):
        table.add_column(name, overflow="fold")
    for row in answer["replicas"]:
        words = ". ".join(part for part in (row["reason"].rstrip("."), row["advice"]) if part)
        why = " ".join(part for part in (row["stage"] or row["progress"], words) if part)
        state = f"{row['state']} {row['percent']:.0f} %" if row["percent"] is not None else row["state"]
        values = (row["replica"], state, _ago(row["seconds"]), row["busy"], row["starts"], row["pid"] or "-", why)
        table.add_row(*(str(value) for value in values))
    for row in answer["backends"]:
        state = {True: "healthy", False: "unhealthy", None: "unknown"}[row["healthy"]]
        table.add_row(row["name"], state, "", "", "", "-", row["reason"])
    Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(table)
    for gpu in answer.get("gpus", ()):
        print(_gpu(gpu))
    for words in _overload(answer):
        print(words)
    usage = answer.get("usage") or {"recording": True}
    if not usage["recording"]:
        print(f"Usage is not being recorded: {usage['trouble']}. {usage['waiting']} wait, {usage['dropped']} are lost.")
    stuck = [row["replica"] for row in answer["replicas"] if row["state"] == "quarantined"]
    if stuck:
        print(f"Next: mend what WHY says, then run: appliance load {stuck[0]}")
    return 0


def _overload(answer: dict[str, Any]) -> Iterator[str]:
    """What waits, and what is left alone."""
    for line in answer.get("queues", ()):
        if line["waiting"]:
            busy = f"{line['running']} of {line['slots']} slots are busy"
            yield f"{line['runtime']}: {busy}, {line['waiting']} requests wait"
    for circuit in answer.get("circuits", ()):
        why = f"{circuit['failures']} failures in a row ({circuit['reason']})"
        yield f"{circuit['target']} is left alone: {why}; tried again in {circuit['next_try']:g} s"


def _gpu(gpu: dict[str, Any]) -> str:
    facts = [f"{gpu['used'] / 2**30:.1f} of {gpu['total'] / 2**30:.1f} GiB"]
    facts += [f"{gpu['utilization']:.0f} %"] if gpu["utilization"] is not None else []
    facts += [f"{gpu['temperature']:.0f} °C"] if gpu["temperature"] is not None else []
    facts += [gpu["fault"]] if gpu["fault"] else [] if gpu["known"] else ["does not answer"]
    return f"GPU {gpu['index']} {gpu['name']}: {', '.join(facts)}"


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


def _ago(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"
