"""Everything that a replica has started: found, signalled, proved empty.

    tree = Tree(process, tags, leaf)       # leaf: its cgroup, where there is one
    tree.members()                         # who is there; remembered, so that zombies can be collected later
    left = await tree.stop(grace)          # [] is the proof that nobody is left; else pids that even KILL does not end

A process belongs to a replica's tree when it is in the leader's session, or carries the replica's two tags in its
environment, or is in the replica's cgroup. The tags find what left the session (`setsid`) and what lost its parents;
the cgroup finds what threw its environment away, and ends a storm of forks at once. The leader is left uncollected
until its tree is empty, so that its session id cannot be used again.

What KILL does not end is in the kernel's hands: a driver call that never returns (state D), or a frozen version 1
cgroup, where signals wait until somebody thaws it. `stop` gives its pids back in time, and the caller says so.
"""

import ctypes
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import trio

from appliance.supervisor.proc import Member as Member  # noqa: PLC0414 - part of what this module gives
from appliance.supervisor.proc import Stat, carries, processes, send, stat_of
from appliance.supervisor.process import Process

INSTANCE = "APPLIANCE_INSTANCE"
REPLICA = "APPLIANCE_REPLICA"
LAST_RESORT = 10.0  # seconds that KILL may take: a process in the driver's hands ends when the driver lets go
_LOOK = 3.0  # seconds for one look; reading the environment of a process can hang with it
_PR_SET_CHILD_SUBREAPER = 36
_Marks = tuple[bytes, ...]


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

    @property
    def marks(self) -> tuple[bytes, ...]:
        """As they stand in `/proc/PID/environ`."""
        return tuple(os.fsencode(f"{name}={value}") for name, value in self.env().items())


class Leaf(Protocol):
    """What a tree needs from a cgroup; see `cgroup.Leaf`."""

    @property
    def populated(self) -> bool:
        """Whether anybody lives in it or below."""
        ...

    def pids(self) -> set[int]:
        """Who is in it, or below."""
        ...

    def kill(self) -> bool:
        """End everybody at once; False where the kernel cannot."""
        ...


class Tree:
    """The processes of one life of a replica.

    Args:
        process: the top one.
        tags: of the replica.
        leaf: its cgroup, where there is one.
    """

    def __init__(self, process: Process, tags: Tags, leaf: Leaf | None = None) -> None:
        self.process = process
        self.tags = tags
        self.leaf = leaf
        self.seen: set[Member] = set()

    def members(self) -> set[Member]:
        """The living. Blocks for a few milliseconds, and with a process that hangs in the kernel: use a thread."""
        found = self._find(self.tags.marks).members
        self.seen |= found
        return found

    def reap(self) -> None:
        """Collect the zombies that came to us since they lost their parents; never the top process."""
        reap_orphans(member for member in self.seen if member != self.process.member)

    async def stop(self, grace: float) -> list[int]:
        """End everything: TERM to the top's group, once more half-way, KILL to whatever is left after the grace.

        Runs to its end even when cancelled; takes at most `grace` and ten seconds more. Does not collect the top.

        Args:
            grace: seconds between the first TERM and KILL; 0 kills at once.

        Returns:
            Pids that are still there, which only an unkillable process can cause. Empty is the proof that all are gone.
        """
        hunt = _Hunt(self._find, self.tags.marks, self.seen, self.leaf)
        with trio.CancelScope(shield=True):
            if grace > 0:
                await hunt.ask(self.process, grace)
            left = await hunt.kill(self.process)
        self.reap()
        return sorted(member.pid for member in left)

    def _find(self, marks: "_Marks | None") -> "_Found":
        session = self.process.pid if self.process.holds_pid else None
        inside = self.leaf.pids() if self.leaf else set()
        return _find(session, marks, inside, self.seen)


def become_subreaper() -> None:
    """Make orphans below us our children instead of init's, so that they can be collected.

    Raises:
        OSError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def tagged(instance: str) -> set[Member]:
    """The living processes of any replica of an instance. Blocks for a few milliseconds."""
    return _find(None, _instance_marks(instance), set(), set()).members


def members(leader: int, tags: Tags) -> set[Member]:
    """The living processes of a tree whose leader has not been collected. Blocks for a few milliseconds."""
    return _find(leader, tags.marks, set(), set()).members


async def stop_tree(leader: int, tags: Tags, grace: float, seen: Iterable[Member] = ()) -> list[int]:
    """`Tree.stop` for a leader known by its pid, which has not been collected."""
    process = Process.of(leader)
    tree = Tree(process, tags)
    tree.seen |= set(seen)
    try:
        return await tree.stop(grace)
    finally:
        process.release()


def reap_orphans(known: Iterable[Member]) -> None:
    """Collect those of `known` that have ended and are our children by now. Never pass a leader: its owner waits."""
    for member in known:
        stat = stat_of(member.pid)
        if stat is not None and stat.member == member and not stat.alive and stat.parent == os.getpid():
            with suppress(ChildProcessError):
                os.waitpid(member.pid, os.WNOHANG)


async def remove_tagged(instance: str, spare: Iterable[Member] = ()) -> "Removed":
    """Kill what an earlier run of this instance left behind, and nothing else.

    Args:
        instance: the id of the state directory.
        spare: whom to leave alone: the members of trees that were adopted.

    Returns:
        The pids that were found, and those of them that do not end.
    """
    spared = frozenset(spare)
    seen: set[Member] = set()

    def find(marks: _Marks | None) -> _Found:
        return _find(None, marks, set(), seen, spared)

    with trio.CancelScope(shield=True):
        left = await _Hunt(
            find, _instance_marks(instance), seen, None
        ).kill()  # not our children, so not ours to collect
    return Removed(sorted(member.pid for member in seen), sorted(member.pid for member in left))


@dataclass(frozen=True, slots=True)
class Removed:
    """What `remove_tagged` did; true when there was anything.

    Attributes:
        found: pids.
        left: those of them that do not end.
    """

    found: list[int]
    left: list[int]

    def __len__(self) -> int:
        return len(self.found)


@dataclass(frozen=True, slots=True)
class _Found:
    """The living of a tree, and the process groups in which there is nobody else."""

    members: set[Member]
    groups: frozenset[int] = frozenset()


def _instance_marks(instance: str) -> _Marks:
    return (os.fsencode(f"{INSTANCE}={instance}"),)


def _find(
    session: int | None,
    marks: _Marks | None,
    inside: set[int],
    seen: set[Member],
    spared: frozenset[Member] = frozenset(),
) -> _Found:
    ours: list[Stat] = []
    foreign = {os.getpgrp()}  # groups that hold somebody else; ours always counts as one
    for stat in processes():
        if not stat.alive:
            _collect_stray(stat)
            continue
        if stat.member.pid == os.getpid():
            continue
        mine = stat.member not in spared and (
            stat.session == session
            or stat.member.pid in inside
            or stat.member in seen
            or (marks is not None and carries(stat.member.pid, marks))
        )
        if mine:
            ours.append(stat)
        else:
            foreign.add(stat.group)
    return _Found({stat.member for stat in ours}, frozenset(stat.group for stat in ours if stat.group > 1) - foreign)


def _collect_stray(stat: Stat) -> None:
    # What forks and ends faster than anybody looks leaves zombies to us that nobody has seen alive, and they fill the
    # table of pids. What we started leads a session or is in ours; neither is touched.
    if stat.parent == os.getpid() and stat.session not in (stat.member.pid, os.getsid(0)):
        with suppress(ChildProcessError):
            os.waitpid(stat.member.pid, os.WNOHANG)


class _Hunt:
    """Repeated looks at a changing set of processes."""

    def __init__(
        self, find: Callable[[_Marks | None], _Found], marks: _Marks, seen: set[Member], leaf: Leaf | None
    ) -> None:
        self._find = find
        self._marks: _Marks | None = marks
        self._seen = seen
        self._leaf = leaf

    async def look(self) -> _Found:
        """Who is there. Nobody is reported only after two looks: a process can fork behind the first one's back.

        The second is a moment later: a process that just begins its program has no environment for an instant.
        """
        for pause in (0.0, 0.01):
            await trio.sleep(pause)
            found = await self._look()
            if found.members or self._populated:
                self._seen |= found.members
                return found
        return _Found(set())

    @property
    def _populated(self) -> bool:
        return self._leaf is not None and self._leaf.populated

    async def _look(self) -> _Found:
        # In a thread, because reading hundreds of files in /proc would hold up every stream. A limiter for each look,
        # because a look that hangs keeps its place for as long as it hangs.
        if self._marks is not None:
            with trio.move_on_after(_LOOK):
                return await trio.to_thread.run_sync(
                    self._find, self._marks, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
                )
            self._marks = None  # somebody's memory map is locked in the kernel; the rest can still be read
        return await trio.to_thread.run_sync(self._find, None, limiter=trio.CapacityLimiter(1))

    async def ask(self, leader: Process, grace: float) -> None:
        """TERM, and again half-way: vLLM loses the first one while it starts its engine."""
        began = trio.current_time()
        _terminate(leader)
        again = told = False
        while (found := await self.look()).members and (late := trio.current_time() - began) < grace:
            if not again and late >= grace / 2:
                again, told = True, False
                _terminate(leader)
            if not told and leader.ended:
                # The leader would have told its children; without it, those outside its group know nothing yet.
                told = True
                for member in found.members:
                    send(member, signal.SIGTERM)
            await trio.sleep(0.05)

    async def kill(self, leader: Process | None = None) -> set[Member]:
        """KILL until nobody is left or the time is up; returns who is left."""
        limit = trio.current_time() + LAST_RESORT
        if leader is not None and leader.holds_pid:
            _signal_group(leader.pid, signal.SIGKILL)  # also those who come and go between two looks
        if self._leaf is not None:
            self._leaf.kill()
        while ((found := await self.look()).members or self._populated) and trio.current_time() < limit:
            if self._leaf is not None:
                self._leaf.kill()
            for group in found.groups:
                # At once for the whole group: whoever forks faster than we read /proc cannot run away from it.
                _signal_group(group, signal.SIGKILL)
            for member in found.members:
                send(member, signal.SIGKILL)
            await trio.sleep(0.02)
        return found.members


def _terminate(leader: Process) -> None:
    if leader.holds_pid:
        _signal_group(leader.pid, signal.SIGTERM)
        _signal_group(leader.pid, signal.SIGCONT)  # one that is stopped would sleep through its grace


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
