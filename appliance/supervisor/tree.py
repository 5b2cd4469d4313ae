"""Everything that a replica has started: found in /proc, signalled, proved empty.

A process belongs to a replica's tree when it is in the leader's session or carries the replica's two tags in its
environment; the tags find what left the session (`setsid`) and what lost its parents. A process is named by its pid
and start time together, and signalled through a handle that was checked after it was opened, so that a reused pid is
never hit. The leader itself is left uncollected until its tree is empty, so its session id cannot be reused either.
"""

import ctypes
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

INSTANCE = "APPLIANCE_INSTANCE"
REPLICA = "APPLIANCE_REPLICA"
LAST_RESORT = 10.0  # seconds that KILL may take: a process in the driver's hands ends when the driver lets go
_PR_SET_CHILD_SUBREAPER = 36
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Tags:
    """The marks in the environment of every process of one replica.

    Attributes:
        instance: the id of this appliance's state directory.
        replica: the replica's name.
    """

    instance: str
    replica: str

    def env(self) -> Mapping[str, str]:
        """As variables for the child."""
        return {INSTANCE: self.instance, REPLICA: self.replica}


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
class _Stat:
    member: Member
    parent: int
    session: int
    alive: bool


def become_subreaper() -> None:
    """Make orphans below us our children instead of init's, so that they can be collected.

    Raises:
        OSError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def members(leader: int, tags: Tags) -> set[Member]:
    """The living processes of a tree. Blocks for a few milliseconds."""
    marks = tuple(f"{name}={value}".encode() for name, value in tags.env().items())
    return {
        stat.member
        for stat in _processes()
        if stat.alive and (stat.session == leader or _carries(stat.member.pid, marks))
    }


def tagged(instance: str) -> set[Member]:
    """The living processes of any replica of an instance. Blocks for a few milliseconds."""
    marks = (f"{INSTANCE}={instance}".encode(),)
    return {stat.member for stat in _processes() if stat.alive and _carries(stat.member.pid, marks)}


def reap_orphans(known: Iterable[Member]) -> None:
    """Collect those of `known` that have ended and are our children by now. Never pass a leader: it is Popen's."""
    for member in known:
        stat = _stat(member.pid)
        if stat is not None and stat.member == member and not stat.alive and stat.parent == os.getpid():
            with suppress(ChildProcessError):
                os.waitpid(member.pid, os.WNOHANG)


async def stop_tree(leader: int, tags: Tags, grace: float, seen: Iterable[Member] = ()) -> list[int]:
    """End a whole tree: TERM to the leader's group, KILL to whatever is left after the grace.

    Runs to its end even when cancelled; takes at most `grace` and ten seconds more.

    Args:
        leader: pid of the top process, not collected yet.
        tags: of the replica.
        grace: seconds between TERM and KILL; 0 kills at once.
        seen: members from earlier looks, whose zombies have to be collected.

    Returns:
        Pids that are still there, which only an unkillable process can cause. Empty is the proof that all are gone.
    """
    hunt = _Hunt(partial(members, leader, tags), set(seen))
    with trio.CancelScope(shield=True):
        if grace > 0:
            await _ask(hunt, leader, grace)
        left = await hunt.kill()
    reap_orphans(member for member in hunt.seen if member.pid != leader)
    return sorted(member.pid for member in left)


async def remove_tagged(instance: str) -> list[int]:
    """Kill what an earlier run of this instance left behind, and nothing else.

    Returns:
        The pids that were found.
    """
    hunt = _Hunt(partial(tagged, instance), set())
    with trio.CancelScope(shield=True):
        await hunt.kill()  # not our children, so not ours to collect
    return sorted(member.pid for member in hunt.seen)


class _Hunt:
    """Repeated looks at a changing set of processes."""

    def __init__(self, find: Callable[[], set[Member]], seen: set[Member]) -> None:
        self._find = find
        self._limiter = trio.CapacityLimiter(1)
        self.seen = seen

    async def look(self) -> set[Member]:
        """Who is there. Nobody is reported only after two looks: a process can fork behind the first one's back."""
        for _ in range(2):
            # In a thread, because reading hundreds of files in /proc would hold up every stream.
            found = await trio.to_thread.run_sync(self._find, limiter=self._limiter)
            found.discard(_ourselves())
            if found:
                self.seen |= found
                return found
        return set()

    async def kill(self) -> set[Member]:
        """KILL until nobody is left or the time is up; returns who is left."""
        limit = trio.current_time() + LAST_RESORT
        while (left := await self.look()) and trio.current_time() < limit:
            for member in left:
                _signal(member, signal.SIGKILL)
            await trio.sleep(0.02)
        return left


async def _ask(hunt: _Hunt, leader: int, grace: float) -> None:
    limit = trio.current_time() + grace
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGTERM)
    told = False
    while (left := await hunt.look()) and trio.current_time() < limit:
        if not told and all(member.pid != leader for member in left):
            # The leader would have told its children; without it, those outside its group know nothing yet.
            told = True
            for member in left:
                _signal(member, signal.SIGTERM)
        await trio.sleep(0.05)


def _ourselves() -> Member | None:
    stat = _stat(os.getpid())
    return stat.member if stat else None


def _signal(member: Member, number: signal.Signals) -> None:
    try:
        handle = os.pidfd_open(member.pid)
    except OSError:
        return
    try:
        stat = _stat(member.pid)
        if stat is not None and stat.member == member:
            with suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)


def _processes() -> Iterator[_Stat]:
    for entry in _PROC.iterdir():
        if entry.name.isdecimal() and (stat := _stat(int(entry.name))) is not None:
            yield stat


def _stat(pid: int) -> _Stat | None:
    try:
        text = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The command name may hold spaces and parentheses; the fields after its last ")" are numbered from 3 in proc(5).
    fields = text[text.rindex(b")") + 2 :].split()
    # A zombie whose other threads still run is not dead yet.
    alive = fields[0] not in (b"Z", b"X") or int(fields[17]) > 1
    return _Stat(Member(pid, int(fields[19])), parent=int(fields[1]), session=int(fields[3]), alive=alive)


def _carries(pid: int, marks: tuple[bytes, ...]) -> bool:
    try:
        variables = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:  # gone, or another user's
        return False
    return all(mark in variables for mark in marks)
