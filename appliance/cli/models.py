"""`appliance models`: which there are, how one is launched, and changes to them in the file of a running server."""

import argparse
import json
import shlex
import tomllib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from rich.text import Text

from appliance.cli import reach
from appliance.cli.orders import changes
from appliance.cli.tables import Listing, Row, columns, show
from appliance.config.file import DEFAULT_CONFIG
from appliance.config.load import load_config
from appliance.config.schema import Config, Runtime
from appliance.config.secrets import environment_keys, process_environment
from appliance.domain.orders import Explanation
from appliance.errors import OperatorError
from appliance.supervisor.explain import explain

_GIB = 2**30
_EXIT = "Exit codes: 0 done, 1 the new configuration is refused, 2 a mistake in the call or no answer."
Body = Callable[[argparse.Namespace], dict[str, Any] | None]  # of the request that an order is


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and what it can do."""
    parser = commands.add_parser(
        "models",
        help="list, explain, add, change, switch off and remove models",
        description="The public models. Changes go into the configuration file of the running server, whose comments "
        "and order stay, and are in effect at once; what is wrong is told and changes nothing.",
        epilog=_EXIT,
    )
    words = "list|explain|add|set|off|on|remove"
    actions = parser.add_subparsers(dest="action", metavar=words, required=True)
    listing = actions.add_parser("list", help="say which models there are", epilog=_EXIT)
    reach.add_options(listing)
    listing.add_argument("--json", action="store_true", help="print what the server answered")
    listing.set_defaults(run=_list)
    _add_explain(actions)
    add = _changing(actions, "add", "add a model", "POST", _added)
    add.add_argument("targets", nargs="+", metavar="TARGET", help="a runtime, backend/model or provider/model")
    add.add_argument(
        "--set",
        action="append",
        default=[],
        type=_setting,
        dest="settings",
        metavar="NAME=VALUE",
        help="a setting of the model besides, as in the configuration file; may be given again",
    )
    change = _changing(actions, "set", "change settings of a model", "PATCH", lambda args: dict(args.settings))
    change.add_argument(
        "settings",
        nargs="+",
        type=_setting,
        metavar="NAME=VALUE",
        help="a value as in the file ('targets=[\"m\"]'), a word, or nothing to take the setting out",
    )
    _changing(actions, "off", "switch a model off: 404, and not listed", "PATCH", lambda _: {"active": False})
    _changing(actions, "on", "switch a model on again", "PATCH", lambda _: {"active": None})
    _changing(actions, "remove", "remove a model's entry", "DELETE", lambda _: None)


def _changing(actions: Any, name: str, words: str, method: str, body: Body) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=words, epilog=_EXIT)
    parser.add_argument("name", metavar="NAME", help="what clients ask for")
    parser.add_argument("--dry-run", action="store_true", help="only say what would change")
    reach.add_options(parser)
    parser.add_argument("--json", action="store_true", help="print what the server answered")
    parser.set_defaults(run=_change, method=method, body=body)
    return parser


def _added(args: argparse.Namespace) -> dict[str, Any]:
    return {"targets": args.targets, **dict(args.settings)}


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f'"{text}" is no setting: write NAME=VALUE')
    if not value:
        return name, None
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name, value


def _change(args: argparse.Namespace) -> int:
    path = f"/ops/v1/models/{quote(args.name, safe='')}" + ("?dry_run=1" if args.dry_run else "")
    answer = reach.ask(args, args.method, path, args.body(args))
    if args.json:
        print(json.dumps(answer, indent=2))
        return 0 if answer["ok"] else 1
    print(answer["diff"], end="")
    if not answer["ok"]:
        print("\n".join(["Nothing has changed: the new configuration is refused.", *answer["reload"]["problems"]]))
        return 1
    print("\n".join(list(changes(answer["reload"])) or ["Nothing differs."]))
    print(
        "Nothing is written: this was a dry run."
        if args.dry_run
        else "It is in effect. See also: appliance models list"
    )
    return 0


def _list(args: argparse.Namespace) -> int:
    answer = reach.ask(args, "GET", "/ops/v1/models")
    if args.json:
        print(json.dumps(answer, indent=2))
        return 0
    rows: list[Row] = []
    for row in answer["models"]:
        name = row["name"] + (" (default)" if row.get("default") else "")
        told = (", ".join(row["targets"]), row["progress"] or row["reason"])
        words = ": ".join(part for part in told if part)
        rows.append(((name, row["state"], row.get("kind") or "any", row["source"]), Text(words)))
    if rows:
        show(Listing(("MODEL", "STATE", "KIND", "FROM"), rows, "TARGETS, AND WHY").shown(columns()))
    if not answer["models"]:
        print("There is no model. Next: add a [[runtimes]] or [[backends]] entry to the configuration file")
    return 0


def _add_explain(actions: Any) -> None:
    told = actions.add_parser(
        "explain",
        help="the command line of a runtime, with where each part of it comes from",
        description="How a runtime is launched, from the configuration alone: nothing is started or connected to. With "
        "--url as a server over the network says it, from the configuration that is in effect there.",
        epilog="Exit codes: 0 done, 2 there is no such runtime, the configuration is not valid, or no server answers.",
    )
    told.add_argument("name", metavar="NAME", help="a runtime, or a model that one serves")
    reach.add_options(told)
    told.add_argument("--json", action="store_true", help="print one JSON object")
    told.set_defaults(run=_explain)


def _explain(args: argparse.Namespace) -> int:
    found = _told(args) if args.url or args.key_file else _worked_out(args)
    if args.json:
        print(json.dumps(asdict(found), indent=2))
    else:
        _print(found, args.config or ("" if args.url or args.key_file else DEFAULT_CONFIG))
    return 0


def _worked_out(args: argparse.Namespace) -> Explanation:
    """From the file."""
    has_keys = bool(environment_keys(process_environment()))
    config = load_config(Path(args.config or DEFAULT_CONFIG), has_environment_keys=has_keys)
    return explain(_runtime(config, args.name), Path(args.state_dir or config.server.state_dir))


def _told(args: argparse.Namespace) -> Explanation:
    """By a server over the network; of a model, how the first of its runtimes is launched."""
    state = reach.ask(args, "GET", "/ops/v1/state")
    runtimes = {row["runtime"] for row in state["replicas"]}
    targets = next((row["targets"] for row in state["models"] if row["name"] == args.name), ())
    wanted = next((name for name in (args.name.partition("@")[0], *targets) if name in runtimes), None)
    if wanted is None:
        known = ", ".join(sorted(runtimes)) or "there are none"
        raise OperatorError(f'no runtime "{args.name}" on that server (runtimes: {known})')
    return msgspec.convert(reach.ask(args, "GET", f"/ops/v1/explain/{quote(wanted, safe='')}"), Explanation)


def _runtime(config: Config, name: str) -> Runtime:
    by_name = {row.name: row for row in config.runtimes}
    wanted = [name.partition("@")[0], *(target for row in config.models if row.name == name for target in row.targets)]
    for candidate in wanted:
        if candidate in by_name:
            return by_name[candidate]
    known = ", ".join(by_name) or "there are none"
    raise OperatorError(f'no runtime "{name}" in the configuration (runtimes: {known})')


def _print(found: Explanation, config: str) -> None:
    print(f"{found.runtime}\n\ncommand line")
    width = min(60, max(len(words) for words, _ in found.origins))
    for words, origin in found.origins:
        print(f"  {words:<{width}}  {origin}")
    print(f"\n  {shlex.join(found.argv)}\n\nvariables, beside PATH and the like")
    for name, value in found.env:
        print(f"  {name}={value}")
    gpus = ", ".join(str(index) for index in found.gpus) or "left to the engine"
    memory = f"{found.memory / _GIB:.1f} GiB on each ({found.memory_from})" if found.memory else "unknown"
    rows = (
        ("replicas", ", ".join(found.replicas)),
        ("address", found.address),
        ("log", found.log),
        ("GPUs", gpus),
        ("GPU memory", memory),
        ("settings", found.fingerprint),
    )
    print()
    for label, value in rows:
        print(f"{label:<12}{value}")
    for note in found.notes:
        print(f"note        {note}")
    file = f" in {shlex.quote(config)}" if config else ", in the configuration file of that server"
    print(f"Next: change its [[runtimes]] entry{file}; `args` come last and win.")
