"""The directory in which an appliance keeps what outlives it: who may use it, and the name that tags its processes."""

import fcntl
import logging
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from appliance.durable import replace_file
from appliance.errors import OperatorError

_LOG = logging.getLogger("appliance.supervisor")
RUN = "run"  # sockets and records
LOGS = "logs"
OPS = "ops.sock"  # where the server takes orders without a key
_INSTANCE = "instance"
_OURS = frozenset({RUN, LOGS, "lock", "lost+found"})  # what may be there before the instance has a name


@contextmanager
def locked(state_dir: Path, inherited: int | None = None) -> Iterator[int]:
    """Hold the state directory for this process, made where it is not there; the kernel lets go however we end.

    Args:
        state_dir: where.
        inherited: the open lock of the process that we take over from: the kernel knows one holder, which both are
            until one of them closes it. Closed here in any case.

    Returns:
        The open lock, which is passed on in the same way.

    Raises:
        OperatorError: it cannot be used, is open to others and not to be closed, or another appliance holds it.
    """
    if inherited is not None:
        try:
            yield inherited
        finally:
            os.close(inherited)
        return
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _close(state_dir)
        for name in (LOGS, RUN):
            _private(state_dir / name)
        lock = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OperatorError(
            f"cannot use state_dir {state_dir}: {error.strerror}: name a directory that this user may make and write to"
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid, *_ = os.pread(lock, 20, 0).decode("ascii", "replace").split() or ["unknown"]
            raise OperatorError(
                f"another appliance (pid {pid}) uses {state_dir}: stop it first, or name another state_dir"
            ) from None
        sign(lock)
        yield lock
    finally:
        os.close(lock)


def sign(lock: int) -> None:
    """Write into the lock who holds it; its first line always says so, as after an upgrade it has been held before."""
    name = f"{os.getpid()}\n".encode()
    with suppress(OSError):  # on a full disk the lock holds all the same
        os.pwrite(lock, name, 0)
        os.truncate(lock, len(name))


def known_instance(state_dir: Path) -> str | None:
    """The id that tags the processes of this state directory; None when nothing was ever started from it.

    Raises:
        OperatorError: it cannot be read, so that nobody knows.
    """
    path = state_dir / _INSTANCE
    try:
        return str(uuid.UUID(path.read_text("ascii").strip()))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        raise OperatorError(f"cannot read {path}: {error.strerror}") from error


def instance_of(state_dir: Path) -> str:
    """The same, made when there is none, so that the next run knows this one's processes.

    Raises:
        OperatorError: it cannot be written.
    """
    if (known := known_instance(state_dir)) is not None:
        return known
    instance = str(uuid.uuid4())
    path = state_dir / _INSTANCE
    try:
        replace_file(path, f"{instance}\n".encode())
    except OSError as error:
        raise OperatorError(f"cannot write {path}: {error.strerror}") from error
    return instance


def open_to_others(state_dir: Path) -> str:
    """Why a state directory cannot stay as it is, in words: keys and sockets are in it; "" when it can.

    Raises:
        OSError: it cannot be looked at.
    """
    mode = stat.S_IMODE(state_dir.stat().st_mode)
    return f"{state_dir} is open to others (mode {mode:04o})" if mode & (stat.S_IRWXG | stat.S_IRWXO) else ""


def may_be_closed(state_dir: Path) -> bool:
    """Whether nobody can miss the access that is taken away: it belongs to us, and holds nothing but an appliance's.

    Raises:
        OSError: it cannot be looked at.
    """
    held = {path.name for path in state_dir.iterdir()}
    return state_dir.stat().st_uid == os.geteuid() and (_INSTANCE in held or held <= _OURS)


def _close(state_dir: Path) -> None:
    """A directory made by hand or for a container is 0755, as a rule; one that others use must not be shut to them."""
    if not (trouble := open_to_others(state_dir)):
        return
    if not may_be_closed(state_dir):
        raise OperatorError(
            f"{trouble} and is not the appliance's alone: choose a directory of its own as state_dir, "
            f"or, if it is, `chmod 700 {state_dir}`"
        )
    _private(state_dir)
    _LOG.warning("%s: it has mode 0700 now", trouble)


def _private(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
