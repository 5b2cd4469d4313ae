"""`appliance doctor`: what is wrong with this machine, and what to do."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import trio

from appliance.cli.bundle import write_bundle
from appliance.config.file import DEFAULT_CONFIG
from appliance.config.secrets import environment_keys, process_environment
from appliance.diagnosis.checks import examine, worst
from appliance.diagnosis.facts import Told, gather

_ORDER = ("ok", "warning", "error")  # the last lines are those that are seen
_MARKS = {"ok": "✓", "warning": "!", "error": "✗"}


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "doctor",
        help="say what is wrong with this machine, and what to do",
        description="Look at GPUs, engines, models, addresses, permissions, disks, limits, certificates and the "
        "configuration. Nothing is changed, and no server has to run.",
        epilog="Exit codes: 0 all is well, or with warnings only; 1 something cannot work.",
    )
    parser.add_argument(
        "--config", type=Path, default=Path(DEFAULT_CONFIG), metavar="FILE", help=f"default {DEFAULT_CONFIG}"
    )
    parser.add_argument(
        "--bundle", type=Path, metavar="FILE.tar.gz", help="also write everything that helps somebody who helps you"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look, and say what was found; 1 when something cannot work."""
    environ = process_environment()
    told = Told(args.config, environ, bool(environment_keys(environ)))
    findings = examine(trio.run(gather, told))
    grade = worst(findings)
    rows = [asdict(finding) for finding in findings]
    inside = write_bundle(args.bundle, args.config, rows) if args.bundle else []
    if args.json:
        answer = {"grade": grade, "findings": rows} | ({"bundle": str(args.bundle)} if args.bundle else {})
        print(json.dumps(answer, indent=2))
        return int(grade == "error")
    for finding in sorted(findings, key=lambda finding: _ORDER.index(finding.grade)):
        fix = f"\n    → {finding.fix}" if finding.fix else ""
        print(f"{_MARKS[finding.grade]} {finding.id:<17} {finding.text}{fix}")
    wrong = [finding for finding in findings if finding.grade != "ok"]
    print(f"\n{_last_words(len(wrong))}")
    if inside:
        print(f"Wrote {args.bundle}: {', '.join(inside)}. Keys and prompts are left out; look through it all the same.")
    return int(grade == "error")


def _last_words(wrong: int) -> str:
    if not wrong:
        return "All is well. Next: appliance status"
    count = "1 thing" if wrong == 1 else f"{wrong} things"
    return f"{count} to look at. What each id means: docs/doctor.md, or /docs/doctor of a running server."
