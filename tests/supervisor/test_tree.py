import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
import trio

from appliance.supervisor import tree as tree_module
from appliance.supervisor.proc import boot_id, processes, stat_of
from appliance.supervisor.process import Process
from appliance.supervisor.tree import (
    Tags,
    Tree,
    become_subreaper,
    members,
    reap_orphans,
    remove_tagged,
    stop_tree,
    tagged,
)

Start = Callable[..., "subprocess.Popen[bytes]"]
# Says "up" when everything below it runs. The argument is what the grandchild does.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline(); print("up", flush=True); time.sleep(60)
"""
PLAIN = "import time; print('up', flush=True); time.sleep(60)"
DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
AWAY = "import os, time; os.setsid(); print('up', flush=True); time.sleep(60)"
AWAY_DEAF = "import os, signal, time; signal.signal(15, 1); os.setsid(); print('up', flush=True); time.sleep(60)"


@pytest.fixture
def tags() -> Tags:
    return Tags(str(uuid.uuid4()), "r")


@pytest.fixture(autouse=True)
def _subreaper() -> None:
    become_subreaper()


@pytest.fixture
def start(tags: Tags) -> Iterator[Start]:
    """Start a script and wait until it says that it is up."""
    started: list[subprocess.Popen[bytes]] = []

    def go(*words: str, env: dict[str, str] | None = None) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-c", *words],
            env=dict(tags.env()) if env is None else env,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        return process

    yield go
    for process in started:
        process.kill()
        process.communicate()


def test_a_tree_is_its_session_and_whatever_carries_the_tags(start: Start, tags: Tags) -> None:
    assert len(members(start(PARENT, PLAIN).pid, tags)) == 2
    assert len(members(start(PARENT, AWAY).pid, tags)) == 4, "the tags find the first tree as well"
    assert len(tagged(tags.instance)) == 4
    assert members(2**22 + 1, Tags(tags.instance, "other")) == set()


@pytest.mark.parametrize("grandchild", [PLAIN, AWAY])
async def test_a_tree_that_obeys_ends_without_kill(start: Start, tags: Tags, grandchild: str) -> None:
    leader = start(PARENT, grandchild)
    with trio.fail_after(3):
        assert await stop_tree(leader.pid, tags, 10) == []
    assert leader.wait() == -signal.SIGTERM
    assert tagged(tags.instance) == set()


async def test_what_ignores_term_is_killed_after_the_grace(start: Start, tags: Tags) -> None:
    leader = start(DEAF)
    began = trio.current_time()
    assert await stop_tree(leader.pid, tags, 0.3) == []
    assert 0.3 <= trio.current_time() - began < 2
    assert leader.wait() == -signal.SIGKILL


async def test_a_leader_killed_during_the_stop_leaves_nobody(start: Start, tags: Tags) -> None:
    leader = start("import signal; signal.signal(15, signal.SIG_IGN)\n" + PARENT, AWAY_DEAF)
    async with trio.open_nursery() as nursery:

        async def murder() -> None:
            await trio.sleep(0.1)
            leader.kill()

        nursery.start_soon(murder)
        assert await stop_tree(leader.pid, tags, 0.5) == []
    assert tagged(tags.instance) == set()


async def test_a_cancelled_stop_still_empties_the_tree(start: Start, tags: Tags) -> None:
    leader = start(PARENT, AWAY_DEAF)
    with trio.CancelScope() as scope:
        scope.cancel()
        await stop_tree(leader.pid, tags, 0.2)
    assert tagged(tags.instance) == set()


async def test_orphans_are_collected_and_the_leader_is_left_to_its_owner(start: Start, tags: Tags) -> None:
    leader = start(PARENT, AWAY)
    (orphan,) = {member for member in members(leader.pid, tags) if member.pid != leader.pid}
    assert await stop_tree(leader.pid, tags, 0) == []
    with pytest.raises(ProcessLookupError):
        os.kill(orphan.pid, 0)
    assert leader.wait() == -signal.SIGKILL, "Popen still gets its own child's code"


def test_a_reused_pid_is_not_collected(start: Start, tags: Tags) -> None:
    leader = start(PLAIN)
    (member,) = members(leader.pid, tags)
    leader.kill()
    os.waitid(os.P_PID, leader.pid, os.WEXITED | os.WNOWAIT)
    reap_orphans([type(member)(member.pid, member.start + 1)])
    assert leader.wait() == -signal.SIGKILL


async def test_remove_tagged_takes_only_what_carries_the_instance(start: Start, tags: Tags) -> None:
    ours = start(PARENT, AWAY_DEAF)
    innocent = start(PLAIN, env={"APPLIANCE_REPLICA": "r"})
    neighbour = start(PLAIN, env=dict(Tags(str(uuid.uuid4()), "r").env()))
    removed = await remove_tagged(tags.instance)
    assert (len(removed.found), removed.left) == (2, [])
    assert ours.wait() == -signal.SIGKILL
    assert innocent.poll() is None
    assert neighbour.poll() is None
    assert not await remove_tagged(tags.instance)


# Swallows the first TERM, as vLLM does while its engine starts; the second one ends it.
SWALLOWS = """
import signal, sys, time
def first(*_): signal.signal(15, lambda *_: sys.exit(5))
signal.signal(15, first); print("up", flush=True)
while True: time.sleep(0.05)
"""
# Each process makes the next one and goes, so there is nobody to aim at; it gives up by itself after a while.
STORM = """
import os, time
print("up", flush=True)
os.fork()
for _ in range(3000):
    if os.fork(): os._exit(0)
    time.sleep(0.002)
"""
LEAVES_AN_ORPHAN = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: time.sleep(60)
    os._exit(0)
os.wait(); print("up", flush=True); time.sleep(60)
"""


async def test_a_second_term_comes_half_way(start: Start, tags: Tags) -> None:
    process = Process.child(start(SWALLOWS))
    began = trio.current_time()
    assert await Tree(process, tags).stop(2) == []
    assert 0.9 < trio.current_time() - began < 2
    assert process.exit_code() == 5
    process.collect()


async def test_one_that_was_stopped_gets_its_term(start: Start, tags: Tags) -> None:
    process = Process.child(start(PLAIN))
    process.signal(signal.SIGSTOP)
    with trio.fail_after(5):
        assert await Tree(process, tags).stop(30) == []
    assert process.exit_code() == -signal.SIGTERM
    process.collect()


async def test_a_storm_of_forks_cannot_run_away(start: Start, tags: Tags) -> None:
    process = Process.child(start(STORM))
    with trio.fail_after(20):
        assert await Tree(process, tags).stop(0) == []
    assert tagged(tags.instance) == set()
    process.collect()
    left = [stat for stat in processes() if stat.parent == os.getpid() and stat.session == process.pid]
    assert len(left) <= 5, "its zombies are collected, whether they were seen alive or not"


async def test_zombies_that_came_to_us_are_collected(start: Start, tags: Tags) -> None:
    process = Process.child(start(LEAVES_AN_ORPHAN))
    tree = Tree(process, tags)
    (orphan,) = tree.members() - {process.member}
    os.kill(orphan.pid, signal.SIGKILL)
    with trio.fail_after(5):
        while stat_of(orphan.pid) is not None:
            tree.reap()
            await trio.sleep(0.01)
    assert await tree.stop(0) == []
    assert process.exit_code() == -signal.SIGKILL, "the top one is left to its owner"
    process.collect()


async def test_an_adopted_tree_is_stopped_without_being_its_parent(start: Start, tags: Tags) -> None:
    starter = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', *sys.argv[1:]], start_new_session=True)"
    keeper = start(starter + "; import time; time.sleep(60)", PARENT, AWAY_DEAF, env=dict(tags.env()))
    (leader,) = [stat.member for stat in processes() if stat.parent == keeper.pid]
    keeper.kill()
    keeper.wait()
    process = Process.adopt(leader.pid, leader.start, boot_id())
    assert process is not None
    tree = Tree(process, tags)
    assert len(tree.members()) == 2
    with trio.fail_after(10):
        assert await tree.stop(0.2) == []
    process.collect()
    assert tagged(tags.instance) == set()


class Stubborn:
    """Somebody whom KILL does not reach: he is in the cgroup and cannot be signalled."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.asked = 0

    @property
    def populated(self) -> bool:
        return True

    def pids(self) -> set[int]:
        return {self.pid}

    def kill(self) -> bool:
        self.asked += 1
        return False


async def test_what_cannot_be_killed_is_handed_back_in_time(
    start: Start, tags: Tags, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_module, "LAST_RESORT", 0.5)
    monkeypatch.setattr(tree_module, "send", lambda *_: False)
    other = start(PLAIN, env={})
    monkeypatch.setattr(os, "killpg", lambda *_: None)
    process = Process.child(start(PLAIN))
    process.signal(signal.SIGKILL)
    leaf = Stubborn(other.pid)
    with trio.fail_after(5):
        assert await Tree(process, tags, leaf).stop(0.1) == [other.pid]
    assert leaf.asked > 1
    process.collect()


async def test_a_look_that_hangs_in_the_kernel_does_not_hold_up_the_stop(
    start: Start, tags: Tags, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs(pid: int, marks: object) -> bool:
        time.sleep(1)
        return False

    monkeypatch.setattr(tree_module, "_LOOK", 0.1)
    monkeypatch.setattr(tree_module, "carries", hangs)
    process = Process.child(start(PARENT, PLAIN))
    with trio.fail_after(5):
        assert await Tree(process, tags).stop(0) == []
    process.collect()
