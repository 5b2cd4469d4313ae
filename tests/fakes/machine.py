"""A machine with systemd as process 1: namespaces, an overlay of this file system, a leaf of the cgroup tree.

Needs root and a kernel that lets it make namespaces and mounts; `reason_not_to` says why there is none here. What is
written inside stays inside. Its network is a loopback of its own.
"""

import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SYSTEMD = Path("/lib/systemd/systemd")
_NAMESPACES = ("-m", "-p", "-f", "-C", "-u", "-i", "-n")
_TARGET = """\
[Unit]
Description=Nothing but the basics
Requires=basic.target systemd-journald.service
After=basic.target systemd-journald.service
"""
# Run as the first process of the namespaces, until it becomes systemd. $1 is the work directory.
_BOOT = """\
set -e
hostname box
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --rbind /sys sys
mount --make-rprivate sys
while umount -R sys/fs/cgroup 2>/dev/null; do :; done
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
ip link set lo up
mkdir -p run/old
pivot_root . run/old
umount -l run/old
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=small.target --log-target=journal --show-status=no
"""


def _cgroups() -> Path | None:
    """Where cgroups of version 2 are mounted."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if right.startswith("cgroup2 "):
            return Path(left.split()[4])
    return None


def reason_not_to() -> str:
    """Why such a machine cannot be made here; "" where it can."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [name for name in ("unshare", "nsenter", "ip", "pivot_root") if not shutil.which(name)]
    if missing or not SYSTEMD.exists():
        return f"needs {', '.join(missing) or SYSTEMD}"
    if _cgroups() is None:
        return "needs a mounted cgroup2"
    words = ["unshare", *_NAMESPACES, "mount", "-t", "proc", "proc", "/proc"]
    tried = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    return f"may not make namespaces: {tried.stderr.strip()}" if tried.returncode else ""


class Machine:
    """One that runs.

    Attributes:
        pid: its process 1, as this system sees it.
        changed: what was written inside, by path.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", pid: int, changed: Path) -> None:
        self._process = process
        self.pid = pid
        self.changed = changed

    def run(self, *command: str | Path, wait: float = 120) -> "subprocess.CompletedProcess[str]":
        """Run a command inside, with nothing in its environment but a path."""
        enter = ["nsenter", "-t", str(self.pid), "-m", "-p", "-C", "-u", "-i", "-n", "-r", "-w", "--"]
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
        return subprocess.run(
            [*enter, *map(str, command)], env=environment, capture_output=True, text=True, timeout=wait, check=False
        )

    def do(self, *command: str | Path, wait: float = 120) -> str:
        """The same for a command that has to succeed: what it printed."""
        done = self.run(*command, wait=wait)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def shown(self, name: str, unit: str = "appliance.service") -> str:
        """A property of a unit."""
        return self.do("systemctl", "show", unit, f"--property={name}", "--value").strip()

    def on_its_network(self, *command: str | Path) -> "subprocess.Popen[str]":
        """Start a command of this system that reaches the machine's loopback."""
        words = ["nsenter", "-t", str(self.pid), "-n", "--", *map(str, command)]
        return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


@contextmanager
def machine(place: Path, bound: dict[str, Path] | None = None) -> Iterator[Machine]:
    """Boot one, and end everything in it afterwards.

    Args:
        place: a directory of its own, not on an overlay.
        bound: files and directories of this system that are to be at other places inside, by their paths there.
    """
    tree = _cgroups()
    assert tree is not None
    leaf = tree / f"machine-{uuid.uuid4().hex[:8]}"
    for name in ("upper/etc/systemd/system", "work", "root"):
        (place / name).mkdir(parents=True)
    etc = place / "upper" / "etc"
    (etc / "systemd" / "system" / "small.target").write_text(_TARGET)
    (etc / "fstab").write_text("")
    for name in ("systemd-udevd.service", "systemd-udev-trigger.service", "apparmor.service", "systemd-oomd.service"):
        (etc / "systemd" / "system" / name).symlink_to("/dev/null")
    boot = _BOOT
    for inside, outside in (bound or {}).items():
        target = place / "upper" / inside.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.mkdir() if outside.is_dir() else target.touch()
        boot = boot.replace("ip link", f'mount --bind "{outside}" "{inside.lstrip("/")}"\nip link', 1)
    leaf.mkdir()
    join = f'echo $$ > {leaf}/cgroup.procs; exec "$@"'
    command = ["sh", "-c", join, "sh", "unshare", *_NAMESPACES, "--propagation", "private", "--kill-child"]
    log = (place / "boot.log").open("wb")
    process = subprocess.Popen([*command, "sh", "-c", boot, "sh", place], stdout=log, stderr=log)
    try:
        yield _booted(process, place)
    finally:
        process.kill()
        process.wait()
        log.close()
        _remove(leaf)
        shutil.rmtree(place, ignore_errors=True)


def _booted(process: "subprocess.Popen[bytes]", place: Path) -> Machine:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert process.poll() is None, (place / "boot.log").read_text()
        with suppress(OSError, ValueError, IndexError):
            first = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
            found = Machine(process, first, place / "upper")
            if Path(f"/proc/{first}/comm").read_text() == "systemd\n":
                state = found.run("systemctl", "is-active", "small.target").stdout.strip()
                if state == "active":
                    return found
        time.sleep(0.2)
    raise AssertionError(f"no systemd within two minutes: {(place / 'boot.log').read_text()}")


def _remove(leaf: Path) -> None:
    """Remove a part of the cgroup tree whose processes are ending."""
    end = time.monotonic() + 30
    while leaf.exists() and time.monotonic() < end:
        for path in sorted(leaf.rglob("cgroup.procs"), reverse=True):
            with suppress(OSError, ValueError, IndexError):
                for pid in path.read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
        for folder in [*sorted((path for path in leaf.rglob("*") if path.is_dir()), reverse=True), leaf]:
            with suppress(OSError):
                folder.rmdir()
        time.sleep(0.1)
