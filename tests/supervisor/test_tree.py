import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator

import pytest
import trio

from appliance.supervisor.tree import Tags, become_subreaper, members, reap_orphans, remove_tagged, stop_tree, tagged

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
    assert len(await remove_tagged(tags.instance)) == 2
    assert ours.wait() == -signal.SIGKILL
    assert innocent.poll() is None
    assert neighbour.poll() is None
    assert await remove_tagged(tags.instance) == []
