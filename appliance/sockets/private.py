"""A listening Unix socket that only its owner may connect to: the file's permission is the credential."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EADDRINUSE
from pathlib import Path
from stat import S_ISSOCK

_LONGEST = 107  # bytes of a path that the kernel takes
_BACKLOG = 64


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """A name of a socket that the kernel takes however long its path is; valid inside the block.

    Raises:
        OSError: its directory cannot be opened.
    """
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


class PrivateSocket:
    """Listens at a path, mode 0600, until `close`.

    What a dead process has left at the path is replaced; a socket where somebody listens is not, nor is anything that
    is no socket.

    Args:
        path: where; its directory exists.
        inherited: the socket of another process, which listens there and has given it to us.

    Raises:
        OSError: it cannot be had.
    """

    def __init__(self, path: Path, inherited: socket.socket | None = None) -> None:
        self.path = path
        if inherited is not None:
            self.socket, self._file = inherited, _identity(path)
            inherited.settimeout(0)
            return
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with reachable(path) as name:
                _clear(path, name)
                self.socket.bind(name)
                # Nobody can connect before `listen`, so there is no moment in which the file is open to others.
                path.chmod(0o600)
            self.socket.listen(_BACKLOG)
            self.socket.settimeout(0)
            self._file = _identity(path)
        except BaseException:
            self.socket.close()
            raise

    def leave(self) -> None:
        """Listen no more and let the file be: another process listens there."""
        self._file = None
        self.socket.close()

    def close(self) -> None:
        """Listen no more and remove the file, unless it is somebody else's by now. Safe to call twice."""
        if self._file is not None and _identity(self.path) == self._file:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
        self._file = None
        self.socket.close()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _clear(path: Path, name: str) -> None:
    """Remove a socket that nobody listens on."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if S_ISSOCK(mode):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(0)
            try:
                probe.connect(name)
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
                return
            except BlockingIOError:
                pass  # somebody listens, and many wait already
    raise OSError(EADDRINUSE, "somebody listens there" if S_ISSOCK(mode) else "something that is no socket is there")
