"""The machine: its CPUs, ports and limits, and what /proc knows about a process."""

import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".bench"  # compiled programs, the rival from PyPI, the last result

_CPUS = sorted(os.sched_getaffinity(0))
GATEWAY_CPU = _CPUS[0]
LOAD_CPU = _CPUS[1 % len(_CPUS)]

_TICK = os.sysconf("SC_CLK_TCK")
_SESSION, _USER, _SYSTEM = 3, 11, 12  # fields of /proc/PID/stat, counted after the name


def settle(niceness: int) -> int:
    """Leave the gateway's CPU alone; allow as many open files as there may be; the new limit.

    Args:
        niceness: of this process and of those that it starts.

    Raises:
        PermissionError: a niceness below the present one is for root.
    """
    os.sched_setaffinity(0, {LOAD_CPU})
    if niceness:
        os.setpriority(os.PRIO_PROCESS, 0, niceness)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def compiled(name: str) -> Path:
    """The program made from `bench/<name>.c`, compiled anew if a source is newer."""
    sources = [ROOT / "bench" / f"{name}.c", ROOT / "bench" / "shared.h"]
    program = CACHE / name
    if not program.exists() or program.stat().st_mtime < max(source.stat().st_mtime for source in sources):
        CACHE.mkdir(exist_ok=True)
        subprocess.run([shutil.which("cc") or "cc", "-O2", "-Wall", "-o", program, sources[0]], check=True)
    return program


def _members(session: int) -> list[tuple[Path, list[str]]]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[_SESSION]) == session:
                found.append((folder, fields))
    return found


def cpu_seconds(session: int) -> float:
    """CPU time, user and system, of all living processes of a session."""
    return sum((int(fields[_USER]) + int(fields[_SYSTEM])) / _TICK for _, fields in _members(session))


def busy_seconds(cpu: int) -> float:
    """How long programs, and other virtual machines, have kept a CPU busy; the kernel's interrupts are not counted."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{cpu} "):
            user, nice, system, _idle, _waiting, _hard, _soft, stolen = map(int, line.split()[1:9])
            return (user + nice + system + stolen) / _TICK
    return 0


def favour(session: int) -> None:
    """Give a session our own niceness: where the kernel groups by session, a process's own counts for little."""
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(FileNotFoundError, ProcessLookupError):
        if niceness:
            Path(f"/proc/{session}/autogroup").write_text(str(niceness))


def rss_mib(session: int) -> float:
    """Resident memory of all processes of a session; pages that they share count for each."""
    total = 0
    for folder, _ in _members(session):
        with suppress(FileNotFoundError, ProcessLookupError):
            for line in (folder / "smaps_rollup").read_text().splitlines():
                if line.startswith("Rss:"):
                    total += int(line.split()[1])
    return total / 1024


def facts() -> dict[str, str]:
    """What a reader of the numbers must know of this machine."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": model,
        "cpus": str(len(_CPUS)),
        "kernel": platform.release(),
        "python": sys.version.split()[0],
    }
