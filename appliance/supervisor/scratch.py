"""A directory for what an engine leaves lying about: made fresh for every start, removed when its tree is gone.

vLLM's processes talk over sockets in the temporary directory, and none of them is removed when they are killed.
"""

import os
import shutil
from pathlib import Path

# The kernel takes 107 bytes for a socket's path, and vLLM's have names of 36 in this directory.
_LONGEST = 107 - 1 - 36


def directory(socket: Path) -> Path | None:
    """The one of the replica that listens on `socket`; None where its sockets' paths would be too long."""
    path = socket.with_suffix(".d")
    return path if len(os.fsencode(path)) <= _LONGEST else None


def fresh(socket: Path) -> Path | None:
    """Make it, empty.

    Raises:
        OSError: it cannot be made.
    """
    path = directory(socket)
    if path is not None:
        remove(socket)
        path.mkdir(mode=0o700)
    return path


def remove(socket: Path) -> None:
    """Remove it with all that is in it, if it is there."""
    path = directory(socket)
    if path is not None:
        shutil.rmtree(path, ignore_errors=True)
