"""The only place that starts a process, and the only one that waits for a process we started.

`Popen` is called from the main thread itself, not through `trio.open_process`: that forks in a worker thread, and a
parent-death signal then fires when the thread retires.
"""

import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import trio

from appliance.errors import OperatorError


def spawn(
    argv: Sequence[str], env: Mapping[str, str], log: Path, *, open_files: tuple[int, int] | None = None
) -> "subprocess.Popen[bytes]":
    """Start a program as the leader of its own session, writing to its own file.

    The log is a file that the child appends to by itself: with no pipe of ours in between, neither a slow reader nor
    our death can block or kill it.

    Args:
        argv: the command line.
        env: the whole environment.
        log: for stdout and stderr; created with mode 0600, never truncated.
        open_files: soft and hard limit of open files; ours when absent. We raise our own, and a program that still
            uses select() breaks where a file descriptor is 1024 or more.

    Raises:
        OperatorError: it cannot be started; the text says why.
    """
    try:
        output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise OperatorError(f"cannot write the log {log}: {error.strerror}") from error
    try:
        process = subprocess.Popen(
            list(argv),
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            close_fds=True,
            umask=0o077,
        )
    except FileNotFoundError as error:
        raise OperatorError(f"program not found: {argv[0]}") from error
    except PermissionError as error:
        raise OperatorError(f"not executable: {argv[0]}") from error
    except (OSError, ValueError) as error:
        raise OperatorError(f"cannot start {argv[0]}: {error}") from error
    finally:
        os.close(output)
    if open_files is not None:
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, open_files)
    return process


async def wait_exit(process: "subprocess.Popen[bytes]") -> None:
    """Return when the process has ended. It stays a zombie: its pid cannot be reused until `collect`."""
    handle = os.pidfd_open(process.pid)
    try:
        await trio.lowlevel.wait_readable(handle)
    finally:
        os.close(handle)


def exit_code(process: "subprocess.Popen[bytes]") -> int | None:
    """The exit code, negative for a signal; None while it runs. Does not collect the zombie."""
    if process.returncode is not None:
        return process.returncode
    result = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if result is None:
        return None
    return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status


def collect(process: "subprocess.Popen[bytes]") -> None:
    """Take the zombie away. Only after its tree is empty: until then its pid names the session."""
    process.poll()


def exit_words(code: int | None) -> str:
    """An exit code for people."""
    if code is None:
        return "ended"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:  # real-time signals have no name
        return f"killed by signal {-code}"
