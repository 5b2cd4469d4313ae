"""Where the engines' sockets are: in the private `run` directory, unless its path is too long for the kernel."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from appliance.supervisor import environment
from appliance.supervisor.state_dir import RUN

_LONGEST_SOCKET = 100  # the kernel's limit for a socket path is 107 bytes
_LONGEST_NAME = 36  # of it, for the file


@contextmanager
def socket_paths(state_dir: Path) -> Iterator[Callable[[str], Path]]:
    """A socket path for each replica; in a short directory of our own where the state directory's path is too long."""
    run = state_dir.resolve() / RUN
    if len(os.fsencode(run)) + _LONGEST_NAME < _LONGEST_SOCKET:
        yield lambda name: run / f"{_short(name)}.sock"
        return
    home = environment.user_run_dir()
    base = home if home and len(os.fsencode(home)) < 60 and os.access(home, os.W_OK) else "/tmp"  # noqa: S108 - mkdtemp makes it private
    directory = Path(tempfile.mkdtemp(prefix="appliance-", dir=base))
    try:
        yield lambda name: directory / f"{_short(name)}.sock"
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _short(name: str) -> str:
    """A file name for a replica: its own name where that is short, else the beginning and a digest."""
    whole = quote(name, safe="@")
    if len(whole) + len(".sock") < _LONGEST_NAME:
        return whole
    return f"{whole[:20]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
