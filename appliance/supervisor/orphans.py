"""Children that nobody waits for: orphans that began a session of their own and ended before anybody saw them alive.

They come to us because we are the subreaper, and stay a number in the table of pids until somebody collects them. While
they live, their marks tell whose they are, and `tree` collects them; once dead they have no environment any more. So
what has been dead for two looks, and is nobody whom we look after, is such an orphan.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from appliance.supervisor.proc import Member, processes
from appliance.supervisor.tree import reap_orphans

_EVERY = 5.0  # seconds between two looks; a leader that has ended is collected or known within one


async def collect_orphans(ours: Callable[[], set[int]], every: float = _EVERY) -> None:
    """Collect them until cancelled.

    Args:
        ours: pids of the processes that we look after now, dead or alive: their owners collect those.
        every: seconds between two looks.
    """
    before: set[Member] = set()
    while True:
        dead, known = await trio.to_thread.run_sync(dead_leaders), ours()
        strange = {member for member in dead if member.pid not in known}
        reap_orphans(strange & before)
        before = strange
        await trio.sleep(every)


@contextmanager
def none_left() -> Iterator[None]:
    """Collect them at the end, too, when all that was ours has been collected by its owner."""
    try:
        yield
    finally:
        reap_orphans(dead_leaders())


def dead_leaders() -> set[Member]:
    """Zombies of ours that lead a session; the others are collected by whoever looks for members of a tree."""
    mine = os.getpid()
    return {
        stat.member
        for stat in processes()
        if not stat.alive and stat.parent == mine and stat.session == stat.member.pid != mine
    }
