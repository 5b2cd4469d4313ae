"""`appliance install` and `appliance uninstall`: become a service of this machine, and cease to be one."""

import argparse
import hashlib
import json
import os
import secrets
import shutil
import sys
from importlib.resources import files
from pathlib import Path

from appliance.errors import OperatorError
from appliance.installation.carrying_out import Done, carry_out
from appliance.installation.first_config import first_config
from appliance.installation.found import Found, look
from appliance.installation.steps import CONFIG, PROGRAM, USER, Ourselves, Step, installing, uninstalling
from appliance.supervisor.environment import search_path

_EXIT = "Exit codes: 0 it is so, 2 it could not be made so."
_WORDS = {"changed": "done", "kept": "is so", "would": "would", "failed": "failed"}


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the two commands."""
    parser = commands.add_parser(
        "install",
        help="become a service of this machine",
        description="Make the user, the directories, a first configuration from what is found here, the service's unit "
        "and a first admin key, and start the service. Doing it again changes only what is not so yet; a configuration "
        "that exists is kept. Needs no network.",
        epilog=_EXIT,
    )
    parser.add_argument("--models", type=Path, action="append", default=[], metavar="DIR", help="look for models here")
    parser.add_argument("--no-start", action="store_true", help="do not enable and start the service")
    parser.set_defaults(run=_install)
    away = commands.add_parser(
        "uninstall",
        help="cease to be a service of this machine",
        description="Stop the service and remove the unit and the program. Configuration, keys, usage and logs stay.",
        epilog=_EXIT,
    )
    away.add_argument("--purge", action="store_true", help="remove configuration, keys, usage and logs as well")
    away.set_defaults(run=_uninstall)
    for command in (parser, away):
        command.add_argument("--dry-run", action="store_true", help="only say what would change")
        command.add_argument("--root", type=Path, default=Path("/"), metavar="DIR", help="of another file system")
        command.add_argument("--json", action="store_true", help="print one JSON object")


def _install(args: argparse.Namespace) -> int:
    found = look(args.root, USER, search_path(), args.models)
    key = f"sk-{secrets.token_urlsafe(32)}"
    digest = hashlib.sha256(key.encode()).hexdigest()
    new = not (args.root / CONFIG.relative_to("/")).exists()
    unit = (files("appliance") / "system" / "appliance.service").read_text(encoding="utf-8")
    config = first_config(found, f"sha256:{digest}")
    steps = installing(found, _ourselves(args.root), config, unit, start=not args.no_start)
    done = _carry_out(args, steps)
    shown = key if new and not args.dry_run else None
    if args.json:
        print(json.dumps({"ok": True, "dry_run": args.dry_run, "steps": _rows(done), "admin_key": shown}, indent=2))
        return 0
    _print(done)
    _say_found(found)
    if shown:
        print(f"\nThe admin key, shown this once: {shown}")
    print(_next(args, found))
    return 0


def _uninstall(args: argparse.Namespace) -> int:
    found = look(args.root, USER, search_path())
    done = _carry_out(args, uninstalling(found, purge=args.purge))
    if args.json:
        print(json.dumps({"ok": True, "dry_run": args.dry_run, "steps": _rows(done)}, indent=2))
        return 0
    _print(done)
    if args.dry_run:
        print("\nNothing has changed. Next: the same without --dry-run")
    else:
        kept = "" if args.purge else " /etc/appliance and /var/lib/appliance are kept; --purge removes them."
        print(f"\nThe service is gone.{kept}")
    return 0


def _carry_out(args: argparse.Namespace, steps: list[Step]) -> list[Done]:
    if args.root == Path("/") and not args.dry_run and os.geteuid() != 0:
        raise OperatorError("this changes the system: run it as root (sudo), or with --dry-run to see what it would do")
    return list(carry_out(steps, args.root, dry_run=args.dry_run))


def _ourselves(root: Path) -> Ourselves:
    """What to install: the binary that runs, or nothing where we are no binary."""
    if not getattr(sys, "frozen", False):
        found = shutil.which(sys.argv[0], path=search_path()) or sys.argv[0]
        return Ourselves(str(Path(found).absolute()))  # a unit wants a whole path; a link in a virtualenv stays one
    program = Path(sys.executable).resolve()
    if program.is_relative_to("/usr") and not program.is_relative_to(PROGRAM.parent):
        return Ourselves(str(program))  # a package's: it looks after the program itself
    directory = (program.parent / "_internal").is_dir()
    bundle = program.parent if directory else program
    in_place = bundle == root / (Path("opt/appliance") if directory else PROGRAM.relative_to("/"))
    return Ourselves(str(PROGRAM), "" if in_place else str(bundle), directory)


def _rows(done: list[Done]) -> list[dict[str, str]]:
    return [{"step": item.step.words(), "outcome": item.outcome, "detail": item.detail} for item in done]


def _print(done: list[Done]) -> None:
    for item in done:
        detail = f" ({item.detail})" if item.detail else ""
        print(f"{_WORDS[item.outcome]:>7}  {item.step.words()}{detail}")


def _say_found(found: Found) -> None:
    models = ", ".join(model.name for model in found.models) or "none"
    engines = ", ".join(path for path in (found.llama_server, found.vllm) if path) or "none on the path"
    print(f"\nFound here: GPUs of NVIDIA: {found.gpus}; engines: {engines}; models: {models}.")


def _next(args: argparse.Namespace, found: Found) -> str:
    if args.dry_run:
        return "Nothing has changed. Next: the same without --dry-run"
    if not found.models:
        return f"Next: put a model into /models, write it down in {CONFIG}, then: appliance reload"
    if args.no_start or not found.service_manager or args.root != Path("/"):
        return f"Next: appliance check {CONFIG}, then start the service: systemctl enable --now appliance"
    if not (found.llama_server or found.vllm):
        return f"Next: put llama-server or vllm on the path, see the end of {CONFIG}, then: appliance reload"
    return "Next: appliance status"
