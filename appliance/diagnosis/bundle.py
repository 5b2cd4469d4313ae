"""The support bundle: what somebody who helps from afar wants to see, as one file that may be sent away."""

import io
import json
import os
import platform
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from appliance.config.schema import Config
from appliance.diagnosis.redaction import Redaction, masked
from appliance.supervisor import environment

_PATIENCE = 10.0  # seconds for a program of the system
_LINES = 500  # of each log
_END = 2**18  # bytes at the end of a log in which these are looked for
_UNIT = "appliance.service"
# Nothing that can hold a variable of the service's environment, which may be a credential.
_PROPERTIES = (
    "ActiveState,SubState,Result,NRestarts,MainPID,ExecMainStatus,ExecMainCode,StatusText,UnitFileState,FragmentPath,"
    "DropInPaths,ActiveEnterTimestamp,InactiveEnterTimestamp,WatchdogUSec,WatchdogTimestamp,TasksCurrent,MemoryCurrent,"
    "CPUUsageNSec,LimitNOFILE,Delegate,ControlGroup,NotifyAccess"
)
_COMMANDS = {
    "system/unit.txt": ("systemctl", "show", _UNIT, f"--property={_PROPERTIES}"),
    "system/systemd.txt": ("systemctl", "--version"),
    "system/gpus.txt": ("nvidia-smi",),
    "system/memory.txt": ("free", "-b"),
    "system/disks.txt": ("df", "-PT"),
}
_JOURNAL = ("journalctl", f"--unit={_UNIT}", f"--lines={_LINES}", "--no-pager", "--output=short-iso")
_ABOUT = """\
A support bundle of the appliance, made by `appliance doctor --bundle`. It is meant to be sent to somebody who helps.

doctor.json      every check of `appliance doctor`
config.json      the configuration with all defaults; hashes, variables of engines and credentials are masked
versions.json    of the program, Python and the system
state.json       what a running server says of its models and backends, and metrics.txt; absent where none runs
logs/            the last lines of the gateway (journal.txt) and of each model process
system/          the unit's state, GPUs, memory, disks

No key, no credential and no prompt should be in it. Lines of engines' logs that may hold a part of a request are left
out. It is text: look through it before you send it.
"""

Parts = dict[str, str]  # path inside the bundle -> text


def system_parts(redaction: Redaction) -> Parts:
    """What the system's own programs say; those that are not there are left out."""
    parts = {name: redaction(said) for name, command in _COMMANDS.items() if (said := _said(command))}
    parts["versions.json"] = _json(
        {
            "python": sys.version,
            "frozen": bool(getattr(sys, "frozen", False)),
            "kernel": platform.release(),
            "machine": platform.machine(),
            "system": platform.freedesktop_os_release().get("PRETTY_NAME", "") if _has_os_release() else "",
            "libc": " ".join(platform.libc_ver()),
            "cpus": os.cpu_count(),
        }
    )
    if journal := _said(_JOURNAL):
        parts["logs/journal.txt"] = "\n".join(map(redaction, journal.splitlines())) + "\n"
    return parts


def log_parts(logs: Path, redaction: Redaction) -> Parts:
    """The end of each model process's log."""
    parts = {}
    for path in sorted(logs.glob("*.log")):
        with suppress(OSError):
            lines = list(redaction.engine_log(_last_lines(path)))
            parts[f"logs/{path.stem}.txt"] = "\n".join(lines) + "\n"
    return parts


def own_parts(
    version: str,
    config: Config | None,
    findings: Sequence[Mapping[str, Any]],
    state: Mapping[str, Any] | None,
    metrics: str,
    redaction: Redaction,
) -> Parts:
    """What is known about the appliance itself.

    Args:
        version: of the program.
        config: None where it has mistakes; these are among the findings.
        findings: of every check.
        state: of a running server; None where none runs.
        metrics: of the same.
        redaction: of credentials.
    """
    parts = {
        "README.txt": _ABOUT,
        "version.txt": f"appliance {version}\n",
        "doctor.json": redaction(_json({"findings": findings})),
    }
    if config is not None:
        parts["config.json"] = redaction(_json(masked(config)))
    if state is not None:
        parts["state.json"] = _json(redaction.state(state))
    if metrics:
        parts["metrics.txt"] = redaction(metrics)
    return parts


def packed(parts: Parts, now: float) -> bytes:
    """The file, below one directory; `now` in seconds since 1970."""
    top = f"appliance-bundle-{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}"
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, text in sorted(parts.items()):
            data = text.encode("utf-8", "replace")
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size, entry.mtime, entry.mode = len(data), int(now), 0o600
            archive.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def _last_lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _END, 0))
        lines = file.read(_END).decode("utf-8", "replace").splitlines()
    yield from lines[1:][-_LINES:] if size > _END else lines[-_LINES:]  # the first one may be half


def _said(command: Sequence[str]) -> str:
    """What a program of the system prints, or ""."""
    try:
        done = subprocess.run(
            command,
            env=environment.inherited({}),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _has_os_release() -> bool:
    return any(Path(place).exists() for place in ("/etc/os-release", "/usr/lib/os-release"))


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"
