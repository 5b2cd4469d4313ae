"""The only place that starts a process, and the only one that waits for a process we started.

`Popen` is called from the main thread itself, not through `trio.open_process`: that forks in a worker thread, and a
parent-death signal then fires when the thread retires.

    process = launch(argv, env, log, leaf=leaf)     # a `Process`; `leaf` is its cgroup, where there is one

A child that has to be in its cgroup from its first instruction is begun by `/bin/sh`, which writes itself into the
cgroup and then becomes the program: same pid, same session, same words, and the environment by inheritance, so that a
key is on no command line (the shell may add PWD). Nothing of Python runs between fork and exec, where `preexec_fn` can
lock up, and the frozen binary does not unpack itself again to be its own launcher. A cgroup that cannot be entered is
done without: session and tags find the tree as well.
"""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import trio

from appliance.errors import OperatorError
from appliance.supervisor.cgroup import Leaf
from appliance.supervisor.process import Process

_PROTECTION = Path("/proc/self/oom_score_adj")
_SHELL = "/bin/sh"
_ENTER = '{ echo 0 > "$0"; } 2>/dev/null; exec "$@"'  # 0 is whoever writes


def launch(
    argv: Sequence[str],
    env: Mapping[str, str],
    log: Path,
    *,
    leaf: Leaf | None = None,
    open_files: tuple[int, int] | None = None,
) -> Process:
    """Start a program as `spawn` does, in its cgroup where there is one, and hold it.

    Raises:
        OperatorError: it cannot be started; the text says why.
    """
    words = list(argv)
    # The shell passes on only what it could name itself; with any other variable the child is moved after its start.
    by_shell = leaf is not None and all(name.isidentifier() for name in env) and os.access(_SHELL, os.X_OK)
    if leaf is not None and by_shell:
        _must_be_a_program(words[0], env)  # the shell would start, and only then fail
        words = [_SHELL, "-c", _ENTER, str(leaf.path / "cgroup.procs"), *words]
    child = spawn(words, env, log, open_files=open_files)
    if leaf is not None and not by_shell:
        leaf.add(child.pid)
    try:
        return Process.child(child)
    except OSError as error:  # out of file descriptors: what cannot be watched must not run
        child.kill()
        child.wait()
        raise OperatorError(f"cannot watch {argv[0]}: {error.strerror or error}") from error


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
    _expose(process.pid)
    return process


def _expose(pid: int) -> None:
    """Take away the protection from the machine's out-of-memory killer that a service manager may have given us.

    A child inherits it, and then the kernel would end anything on the machine before the model that fills its memory.
    """
    with contextlib.suppress(OSError, ValueError):  # it has ended already
        if int(_PROTECTION.read_text("ascii")) < 0:
            Path(f"/proc/{pid}/{_PROTECTION.name}").write_text("0", "ascii")


def _must_be_a_program(program: str, env: Mapping[str, str]) -> None:
    if shutil.which(program, path=env.get("PATH", os.defpath)) is None:
        there = os.sep in program and Path(program).exists()
        raise OperatorError(f"not executable: {program}" if there else f"program not found: {program}")


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
