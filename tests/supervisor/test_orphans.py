import subprocess
import sys

import trio

from appliance.supervisor.orphans import collect_orphans
from appliance.supervisor.proc import stat_of
from appliance.supervisor.tree import become_subreaper

# Starts a child with a session of its own that ends at once, says its pid, and ends before it.
LEAVES_A_LEADER = """
import os, time
pid = os.fork()
if pid == 0:
    os.setsid()
    time.sleep(0.2)
    os._exit(0)
print(pid)
"""


def orphaned() -> int:
    """The pid of an orphan that will have ended in a moment."""
    said = subprocess.run([sys.executable, "-c", LEAVES_A_LEADER], capture_output=True, text=True, check=True)
    return int(said.stdout)


def child() -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", "pass"], start_new_session=True)


async def dead(pid: int) -> None:
    with trio.fail_after(10):
        while (stat := stat_of(pid)) is not None and stat.alive:
            await trio.sleep(0.01)


async def test_an_orphan_that_nobody_knew_is_collected_and_a_process_of_ours_is_left_to_its_owner() -> None:
    become_subreaper()
    orphan, own = orphaned(), child()
    await dead(orphan)
    await dead(own.pid)
    assert stat_of(orphan) is not None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect_orphans, lambda: {own.pid}, 0.05)
        with trio.fail_after(10):
            while stat_of(orphan) is not None:
                await trio.sleep(0.01)
        await trio.sleep(0.3)
        nursery.cancel_scope.cancel()
    assert stat_of(own.pid) is not None
    assert own.wait() == 0


async def test_what_has_just_ended_has_time_to_be_collected_by_its_owner() -> None:
    own = child()
    await dead(own.pid)
    with trio.move_on_after(0.5):
        await collect_orphans(set, 10)
    assert stat_of(own.pid) is not None
    assert own.wait() == 0
