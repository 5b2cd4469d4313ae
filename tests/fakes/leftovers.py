"""What tests have left behind below a directory: processes, sockets, records."""

import contextlib
import os
from pathlib import Path

# Some tests leave a state directory in the middle of its life on purpose, without any process.
ON_PURPOSE = "left-on-purpose"


def leftovers(base: Path) -> list[str]:
    """A line for each thing that no appliance looks after any more."""
    states = [file.parent for file in base.rglob("instance") if (file.parent / "lock").exists()]
    marks = {f"APPLIANCE_INSTANCE={(state / 'instance').read_text().strip()}".encode() for state in states}
    return [*_processes(base, marks), *(line for state in states for line in _files(state))]


def _processes(base: Path, marks: set[bytes]) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if int(entry.name) == os.getpid():
                continue
            words = (entry / "cmdline").read_bytes().split(b"\0")
            mine = marks & set((entry / "environ").read_bytes().split(b"\0"))
            if mine or any(word.startswith(os.fsencode(base)) for word in words):
                found.append(f"process {entry.name}: {b' '.join(words).decode(errors='replace')}")
    return found


def _files(state: Path) -> list[str]:
    if (state / ON_PURPOSE).exists():
        return []
    found = [path for path in (state / "run").glob("*") if path.name != "sockets"]
    link = state / "run" / "sockets"
    if link.is_symlink():
        found += [link.readlink(), *link.readlink().glob("*")]
    if (state / "ops.sock").is_socket():
        found.append(state / "ops.sock")
    return [f"file {path}" for path in found if os.path.lexists(path)]
