"""Files that a crash leaves whole: the old one or the new one, never a half."""

import os
from contextlib import suppress
from pathlib import Path


def replace_file(place: Path, data: bytes, *, owner: tuple[int, int] | None = None, mode: int = 0o600) -> None:
    """Write a file beside its place, sync it, move it there, and sync that.

    Args:
        place: the file.
        data: what is in it then.
        owner: user and group that it shall belong to; None leaves it to whoever writes.
        mode: who may read and write it; private unless said otherwise.

    Raises:
        OSError: it cannot be written, on a full disk for one; what was there before is still there.
    """
    beside = place.with_name(place.name + ".new")
    try:
        beside.unlink(missing_ok=True)  # left by a run that was killed here
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as file:
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.rename(place)
    except OSError:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    directory = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
