"""`appliance dashboards export DIR`: what Grafana and Prometheus need to show us."""

import argparse
import json
import shutil
from importlib.resources import files
from pathlib import Path

from appliance.errors import OperatorError

_LEFT_OUT = ("author", "tests", "__pycache__")  # how they are made and tested


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("dashboards", help="write the dashboards for Grafana and the rules for Prometheus")
    actions = parser.add_subparsers(dest="action", metavar="export", required=True)
    export = actions.add_parser(
        "export",
        help="write them into a directory",
        description="Write dashboards for Grafana, rules for Prometheus, and what to add to their configurations. "
        "Files of the same name are replaced.",
    )
    export.add_argument("dir", type=Path, metavar="DIR", help="made when it does not exist")
    export.add_argument("--json", action="store_true", help="print one JSON object")
    export.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write them; 0 when they are there.

    Raises:
        OperatorError: the directory cannot be written.
    """
    target: Path = args.dir
    try:
        shutil.copytree(_source(), target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    except OSError as error:
        raise OperatorError(f"cannot write into {target}: {error.strerror or error}; name another directory") from error
    written = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    if args.json:
        print(json.dumps({"directory": str(target), "files": written}, indent=2))
    else:
        print("\n".join(str(target / name) for name in written))
        print(f"Next: compare {target}/provisioning with the configurations of Grafana and Prometheus.")
    return 0


def _source() -> Path:
    """Inside of a binary they lie in the package, in a source tree beside it."""
    inside = Path(str(files("appliance") / "dashboards"))
    return inside if inside.is_dir() else inside.parent.parent / "dashboards"
