"""`appliance reap`: end what a server that is gone has left running."""

import argparse
import json
from pathlib import Path

import trio

from appliance.config.file import DEFAULT_CONFIG
from appliance.config.load import load_config
from appliance.config.secrets import environment_keys, process_environment
from appliance.supervisor.proc import stuck_words
from appliance.supervisor.reap import reap
from appliance.supervisor.tree import Removed

# What systemd tells a unit's ExecStopPost= when the server ended against its will and will be started again.
_CRASHES = {"exit-code", "signal", "core-dump", "watchdog", "oom-kill", "resources"}


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "reap",
        help="end what a server that is gone has left running",
        description="End every model process that was started from this state directory and that nobody looks after "
        "any more. Refuses while a server runs with it. Doing it twice does no harm.",
        epilog="Exit codes: 0 nothing is left, 1 some do not end even when killed, 2 a server runs, or the directory "
        "or the configuration cannot be used.",
    )
    parser.add_argument("--config", default=DEFAULT_CONFIG, metavar="FILE", help=f"default {DEFAULT_CONFIG}")
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help="instead of the one in the configuration")
    parser.add_argument(
        "--keep-after-crash",
        action="store_true",
        help="for ExecStopPost=: after a crash do nothing, because the next start takes the models over",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """End them; 0 when nothing is left.

    Raises:
        OperatorError: see the exit code 2.
    """
    kept = args.keep_after_crash and process_environment().get("SERVICE_RESULT") in _CRASHES
    removed = Removed([], []) if kept else trio.run(reap, _state_dir(args))
    if args.json:
        print(json.dumps({"ok": not removed.left, "kept": kept, "found": removed.found, "left": removed.left}))
    else:
        print(_words(removed, kept=kept))
    return 1 if removed.left else 0


def _words(removed: Removed, *, kept: bool) -> str:
    if kept:
        return "The server has crashed: its models are left to the next start."
    if removed.left:
        stuck = ", ".join(stuck_words(pid) for pid in removed.left)
        return (
            f"Killed, and still there: {stuck}. The kernel holds them, most often in a driver. "
            "Next: look at the kernel's log; they end when the driver lets go, or with a restart of the machine."
        )
    ended = len(removed.found)
    return f"Ended {ended} process{'' if ended == 1 else 'es'}." if ended else "Nothing was left."


def _state_dir(args: argparse.Namespace) -> Path:
    if args.state_dir is not None:
        return Path(args.state_dir)
    has_keys = bool(environment_keys(process_environment()))
    return Path(load_config(Path(args.config), has_environment_keys=has_keys).server.state_dir)
