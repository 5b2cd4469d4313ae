"""Who a process is, for the person who has to find it."""

import pwd
from contextlib import suppress
from pathlib import Path

_LONGEST = 60  # characters of a command line


def alive(pid: int) -> bool:
    """Whether there is such a process."""
    return Path(f"/proc/{pid}").exists()


def user_of(pid: int) -> str:
    """The name of its user, or the number; "?" when it is gone."""
    with suppress(OSError):
        uid = Path(f"/proc/{pid}").stat().st_uid
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return str(uid)
    return "?"


def command_of(pid: int) -> str:
    """Its program and first arguments, shortened: the rest may hold what is nobody's business."""
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        text = " ".join(word for word in words[:3] if word)
        if text:
            return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
        return Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    return "?"
