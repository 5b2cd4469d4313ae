"""`appliance models explain NAME`: how a runtime is launched, and why so."""

import argparse
import json
import shlex
from dataclasses import asdict
from pathlib import Path

from appliance.cli.serve import DEFAULT_CONFIG
from appliance.config.load import load_config
from appliance.config.schema import Config, Runtime
from appliance.config.secrets import environment_keys, process_environment
from appliance.domain.orders import Explanation
from appliance.errors import OperatorError
from appliance.supervisor.explain import explain

_GIB = 2**30


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("models", help="say how a model is launched")
    actions = parser.add_subparsers(dest="action", metavar="explain", required=True)
    told = actions.add_parser(
        "explain",
        help="the command line of a runtime, with where each part of it comes from",
        description="How a runtime is launched, from the configuration alone: nothing is started or connected to.",
        epilog="Exit codes: 0 done, 2 there is no such runtime or the configuration is not valid.",
    )
    told.add_argument("name", metavar="NAME", help="a runtime, or a model that one serves")
    told.add_argument("--config", default=DEFAULT_CONFIG, metavar="FILE", help=f"default {DEFAULT_CONFIG}")
    told.add_argument("--json", action="store_true", help="print one JSON object")
    told.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print how `args.name` is launched; 0.

    Raises:
        OperatorError: there is no such runtime, or the configuration is not valid.
    """
    has_keys = bool(environment_keys(process_environment()))
    config = load_config(Path(args.config), has_environment_keys=has_keys)
    found = explain(_runtime(config, args.name), Path(config.server.state_dir))
    if args.json:
        print(json.dumps(asdict(found), indent=2))
    else:
        _print(found, args.config)
    return 0


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
    print(f"Next: change its [[runtimes]] entry in {shlex.quote(config)}; `args` come last and win.")
