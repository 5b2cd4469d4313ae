"""Where the engines' sockets are: in the private `run` directory, unless its path is too long for the kernel."""

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from appliance.supervisor import environment, scratch
from appliance.supervisor.state_dir import RUN

_LONGEST_SOCKET = 100  # the kernel's limit for a socket path is 107 bytes
_LONGEST_NAME = 36  # of it, for the file
_LINK = "sockets"  # in `run`: where the sockets are instead


@contextmanager
def socket_paths(state_dir: Path, left: Callable[[], bool] = lambda: False) -> Iterator[Callable[[str], Path]]:
    """A socket path for each replica; in a short directory of our own where the state directory's path is too long.

    The short directory is remembered in `run/sockets`. The next run goes on with it: what this one leaves running when
    it is killed listens there.

    Args:
        state_dir: locked by this process.
        left: asked at the end, whether another process goes on with all of it.
    """
    run = state_dir.resolve() / RUN
    if len(os.fsencode(run)) + _LONGEST_NAME < _LONGEST_SOCKET:
        yield lambda name: run / f"{_short(name)}.sock"
        return
    directory = _elsewhere(run) or _made(run)
    try:
        yield lambda name: directory / f"{_short(name)}.sock"
    finally:
        if not left():
            _leave(run, directory)


def sweep(state_dir: Path, keep: Collection[str] = ()) -> None:
    """Remove sockets that nobody listens on any more, and what belongs to them.

    Args:
        state_dir: locked by this process.
        keep: paths of the sockets of processes that go on.
    """
    run = state_dir.resolve() / RUN
    elsewhere = _elsewhere(run)
    for directory in [run, *([elsewhere] if elsewhere else [])]:
        for path in directory.glob("*.sock"):
            if str(path) not in keep:
                path.unlink(missing_ok=True)
        for path in directory.glob("*.d"):
            if str(path.with_suffix(".sock")) not in keep:
                scratch.remove(path.with_suffix(".sock"))


def clear(state_dir: Path) -> None:
    """Remove every socket, and the short directory if there is one: nobody listens and nobody is about to."""
    sweep(state_dir)
    run = state_dir.resolve() / RUN
    if (elsewhere := _elsewhere(run)) is not None:
        _leave(run, elsewhere)


def _elsewhere(run: Path) -> Path | None:
    """The short directory of an earlier run, if it is there still and nobody else's."""
    with suppress(OSError):
        directory = (run / _LINK).readlink()
        seen = directory.lstat()
        if stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.geteuid():
            directory.chmod(0o700)
            return directory
    return None


def _made(run: Path) -> Path:
    home = environment.user_run_dir()
    base = home if home and len(os.fsencode(home)) < 60 and os.access(home, os.W_OK) else "/tmp"  # noqa: S108 - mkdtemp makes it private
    directory = Path(tempfile.mkdtemp(prefix="appliance-", dir=base))
    with suppress(OSError):  # on a full disk the next run makes another
        (run / _LINK).unlink(missing_ok=True)
        (run / _LINK).symlink_to(directory)
    return directory


def _leave(run: Path, directory: Path) -> None:
    """Remove the short directory, unless something is still in it."""
    with suppress(OSError):
        directory.rmdir()
        (run / _LINK).unlink(missing_ok=True)


def _short(name: str) -> str:
    """A file name for a replica: its own name where that is short, else the beginning and a digest."""
    whole = quote(name, safe="@")
    if len(whole) + len(".sock") < _LONGEST_NAME:
        return whole
    return f"{whole[:20]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
