"""The other binary: tried out, started, ended."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import trio

from appliance.supervisor.process import Process
from appliance.supervisor.spawn import exit_words
from appliance.supervisor.state_dir import known_instance
from appliance.supervisor.tree import remove_tagged

_OWN = ("_PYI_", "_MEI")  # variables of the bundle that we run from; another one must not take it for its own
_GRACE = 5.0  # seconds from the first signal to the last
_LAST_WORDS = 2000  # bytes of its output


def environment_of(environ: Mapping[str, str], *, frozen: bool) -> dict[str, str]:
    """What the other binary sees: all that we were started with, and nothing that we or our bundle added.

    Args:
        environ: of this process.
        frozen: we run from a PyInstaller bundle.
    """
    result = {name: value for name, value in environ.items() if not name.startswith(_OWN) and name != "WATCHDOG_PID"}
    if frozen:
        result.pop("LD_LIBRARY_PATH", None)
        if original := result.pop("LD_LIBRARY_PATH_ORIG", None):
            result["LD_LIBRARY_PATH"] = original
        result["PYINSTALLER_RESET_ENVIRONMENT"] = "1"
    return result


def unusable(binary: str) -> str:
    """Why a file cannot be run; "" when it may be."""
    path = Path(binary)
    if not path.is_absolute():
        return "its whole path is needed"
    if not path.is_file():
        return "there is no such file"
    return "" if os.access(path, os.X_OK) else "it may not be executed by the appliance's user"


def start(
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    talk: socket.socket | None = None,
    output: IO[bytes] | None = None,
    open_files: tuple[int, int] | None = None,
) -> Process:
    """Start it as the leader of a session of its own.

    Args:
        argv: the command line.
        environ: its whole environment.
        talk: its standard input; nothing when absent. Whatever stands in between, a shell for one, passes that on.
        output: for what it says; where ours goes when absent.
        open_files: soft and hard limit of open files. We raise our own, and it has to begin where we began.

    Raises:
        OSError: it cannot be started.
    """
    child = subprocess.Popen(
        list(argv),
        env=dict(environ),
        stdin=subprocess.DEVNULL if talk is None else talk.fileno(),
        stdout=output,
        stderr=output,
        start_new_session=True,
        close_fds=True,
    )
    if open_files is not None:
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            resource.prlimit(child.pid, resource.RLIMIT_NOFILE, open_files)
    return Process.child(child)


async def end(process: Process, first: signal.Signals = signal.SIGKILL) -> None:
    """End it with everything in its process group, and collect it. Not interrupted by a cancellation.

    Args:
        process: as `start` gave it.
        first: a signal that comes before KILL, with some time in between.
    """
    with trio.CancelScope(shield=True):
        if first is not signal.SIGKILL and not process.ended:
            _signal(process, first)
            with trio.move_on_after(_GRACE):
                await process.wait()
        _signal(process, signal.SIGKILL)
        await process.wait()
        process.collect()


def _signal(process: Process, number: signal.Signals) -> None:
    if process.holds_pid:  # else the number may be another group's by now
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


async def try_out(binary: str, config: str, environ: Mapping[str, str], patience: float) -> str:
    """Let the other binary check itself, this machine and the configuration: "" when all is well, else why not.

    Args:
        binary: its path.
        config: the configuration file.
        environ: as `environment_of` makes it.
        patience: seconds that it may take.
    """
    with tempfile.TemporaryDirectory(prefix="appliance-upgrade-") as place, tempfile.TemporaryFile() as output:
        argv = [binary, "selftest", "--config", config]
        try:
            process = start(argv, {**environ, "TMPDIR": place}, output=output)
        except OSError as error:
            return f"it cannot be started: {error.strerror}"
        try:
            with trio.move_on_after(patience) as scope:
                await process.wait()
        finally:
            await end(process, signal.SIGINT)  # which its own model process ends with
            await _sweep(place)
        if scope.cancelled_caught:
            return f"its self-test did not end within {patience:g} s"
        if code := process.exit_code():
            output.seek(0, os.SEEK_END)
            output.seek(max(0, output.tell() - _LAST_WORDS))
            return f"its self-test failed ({exit_words(code)}): {told(output.read())}"
    return ""


def told(output: bytes) -> str:
    """The last lines of what it said, as one line."""
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    return " · ".join(lines[-3:]) or "it said nothing"


async def _sweep(place: str) -> None:
    """What a self-test that was killed has left running carries the mark of its own state directory."""
    with trio.CancelScope(shield=True):
        for name in os.listdir(place):  # noqa: PTH208 - of our own temporary directory
            if instance := known_instance(Path(place) / name):
                await remove_tagged(instance)
