"""What the kernel says about processes: who is there, since when, in whose session, with which marks.

A pid alone names nobody, because it is used again. Here a process is its pid and its start time together, and a
signal goes through a handle that was checked after it was opened.
"""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from appliance.domain.status import Footprint

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Member:
    """One process.

    Attributes:
        pid: only together with `start`.
        start: start time in clock ticks since boot.
    """

    pid: int
    start: int


@dataclass(frozen=True, slots=True)
class Stat:
    """What `/proc/PID/stat` says.

    Attributes:
        member: which process.
        parent: its parent's pid.
        group: its process group.
        session: its session, which is the pid of whoever began it.
        alive: it still runs; a zombie does not.
        cpu: seconds that it and its collected children have used.
        resident: bytes in memory.
    """

    member: Member
    parent: int
    group: int
    session: int
    alive: bool
    cpu: float = field(default=0.0, compare=False)
    resident: int = field(default=0, compare=False)


def parse_stat(pid: int, text: bytes) -> Stat:
    """One line of `/proc/PID/stat`.

    Raises:
        ValueError: it is not one.
    """
    # The command name may hold spaces and parentheses; the fields after its last ")" are numbered from 3 in proc(5).
    fields = text[text.rindex(b")") + 2 :].split()
    try:
        # A zombie whose other threads still run is not dead yet.
        alive = fields[0] not in (b"Z", b"X") or int(fields[17]) > 1
        member = Member(pid, int(fields[19]))
        cpu = sum(map(int, fields[11:15])) / _TICKS
        parent, group, session = map(int, fields[1:4])
        return Stat(member, parent, group, session, alive=alive, cpu=cpu, resident=int(fields[21]) * _PAGE)
    except IndexError as error:
        raise ValueError("too few fields") from error


def stat_of(pid: int) -> Stat | None:
    """The process that has this pid now; a zombie counts. None when there is none."""
    try:
        return parse_stat(pid, (_PROC / str(pid) / "stat").read_bytes())
    except (OSError, ValueError):
        return None


def processes() -> Iterator[Stat]:
    """Everybody on this machine whom we can see, zombies included. Blocks for a few milliseconds."""
    for entry in os.listdir(_PROC):  # noqa: PTH208 - names are all that is needed, and there are many
        if entry.isdecimal() and (stat := stat_of(int(entry))) is not None:
            yield stat


def footprint(members: Iterable[Member]) -> Footprint:
    """What these use together; those that have ended count for nothing."""
    found = [stat for member in members if (stat := stat_of(member.pid)) is not None and stat.member == member]
    return Footprint(sum(stat.cpu for stat in found), sum(stat.resident for stat in found), len(found))


def carries(pid: int, marks: tuple[bytes, ...]) -> bool:
    """Whether all of these `NAME=value` are in the environment that the process was started with.

    Can block for as long as the process holds its memory map in the kernel: call it where blocking is bounded.
    """
    try:
        variables = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:  # gone, or another user's
        return False
    return all(mark in variables for mark in marks)


def boot_id() -> str:
    """Names this boot of the machine; pids and start times mean nothing across two. Empty when it is not told."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def send(member: Member, number: signal.Signals) -> bool:
    """Signal exactly this process; False when it is gone or is not ours to signal."""
    try:
        handle = os.pidfd_open(member.pid)
    except OSError:
        return False
    try:
        stat = stat_of(member.pid)
        if stat is None or stat.member != member:
            return False
        signal.pidfd_send_signal(handle, number)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(handle)


def stuck_words(pid: int) -> str:
    """Where a process that does not end sits, for people: `pid 7 (python3, state D in nvidia_ioctl)`."""
    name = state = where = ""
    with suppress(OSError, ValueError, IndexError):
        text = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
        name, rest = text[text.index("(") + 1 :].rsplit(")", 1)
        state = rest.split()[0]
    with suppress(OSError):  # the kernel tells it to few
        where = (_PROC / str(pid) / "wchan").read_text("ascii", "replace").strip()
    if not state:
        return f"pid {pid} (gone)"
    return f"pid {pid} ({name}, state {state}{f' in {where}' if where not in ('', '0') else ''})"
