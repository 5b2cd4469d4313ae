"""A run that is killed leaves its child serving; the next run takes over exactly that child, or leaves it alone."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from appliance.supervisor import records
from appliance.supervisor.process import Process
from appliance.supervisor.records import Saved, facts_now, verify
from appliance.supervisor.tree import Tags, Tree, remove_tagged, tagged

# The first run: starts a child as the product does, writes its record, and waits to be killed.
FIRST_RUN = """
import json, sys, time
from pathlib import Path
from appliance.domain.secret import Secret
from appliance.supervisor import records
from appliance.supervisor.spawn import launch
from appliance.supervisor.tree import Tags, become_subreaper

home, instance, script = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
become_subreaper()
key = Secret("child-key")
env = {**Tags(instance, "m").env(), "APPLIANCE_CHILD_KEY": key.reveal}
argv = [sys.executable, "-c", script, str(home / "m.sock")]
process = launch(argv, env, home / "m.log")
records.save(home, records.Record(
    "m", "m", process.pid, process.start, process.boot, "unix", str(home / "m.sock"), 0,
    records.fingerprint(argv, env, [key]), str(home / "m.log"), started=time.time(),
), key)
print("recorded", flush=True)
time.sleep(60)
"""
# Answers on its socket, talks all the time, and has a grandchild in a session of its own.
ENGINE = """
import os, socket, sys, time
if os.fork() == 0:
    os.setsid(); time.sleep(60)
server = socket.socket(socket.AF_UNIX); server.bind(sys.argv[1]); server.listen()
while True:
    client, _ = server.accept(); print("served", flush=True)
    client.send(os.environ["APPLIANCE_CHILD_KEY"].encode()); client.close()
"""


@pytest.fixture
def tags() -> Tags:
    return Tags(str(uuid.uuid4()), "m")


@pytest.fixture
def left_behind(tmp_path: Path, tags: Tags) -> Iterator[Saved]:
    """The record that a run has written before it was killed."""
    words = [sys.executable, "-c", FIRST_RUN, str(tmp_path), tags.instance, ENGINE]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as first:
        assert first.stdout
        assert first.stdout.readline() == b"recorded\n"
        first.kill()
    (saved,) = records.load(tmp_path)
    yield saved
    trio.run(remove_tagged, tags.instance)
    assert tagged(tags.instance) == set()


async def answer(path: str) -> str:
    with trio.fail_after(10):
        while True:
            try:
                stream = await trio.open_unix_socket(path)
            except OSError:
                await trio.sleep(0.01)
                continue
            async with stream:
                return (await stream.receive_some()).decode()


async def test_the_child_of_a_killed_run_is_taken_over_and_stopped(left_behind: Saved, tags: Tags) -> None:
    record = left_behind.record
    assert left_behind.key is not None
    assert await answer(record.host) == left_behind.key.reveal == "child-key", "it serves, and its key is known"
    assert verify(record, facts_now(record, tags), record.config) is None
    process = Process.adopt(record.pid, record.start, record.boot)
    assert process is not None
    tree = Tree(process, tags)
    assert len(tree.members()) == 2
    assert await answer(record.host) == "child-key"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.wait)
        with trio.fail_after(10):
            assert await tree.stop(5) == []
    assert process.exit_code() in (-signal.SIGTERM, None), "None where the kernel does not tell"
    process.collect()
    assert tagged(tags.instance) == set()


async def test_what_was_not_taken_over_is_removed_and_what_was_is_spared(left_behind: Saved, tags: Tags) -> None:
    record = left_behind.record
    await answer(record.host)
    process = Process.adopt(record.pid, record.start, record.boot)
    assert process is not None
    tree = Tree(process, tags)
    spared = tree.members()
    assert (await remove_tagged(tags.instance, spared)).found == []
    assert await answer(record.host) == "child-key"
    process.release()
    assert set((await remove_tagged(tags.instance)).found) == {member.pid for member in spared}


async def test_the_end_of_an_adopted_process_is_seen_at_once(left_behind: Saved) -> None:
    record = left_behind.record
    process = Process.adopt(record.pid, record.start, record.boot)
    assert process is not None
    async with trio.open_nursery() as nursery:
        with trio.fail_after(10):
            nursery.start_soon(process.wait)
            await trio.sleep(0.05)
            os.kill(record.pid, signal.SIGKILL)
    assert process.exit_code() in (-signal.SIGKILL, None)
    process.collect()


def test_its_configuration_is_recognised_from_what_is_known_today(left_behind: Saved, tags: Tags) -> None:
    record = left_behind.record
    assert left_behind.key is not None
    env = {**tags.env(), "APPLIANCE_CHILD_KEY": left_behind.key.reveal}
    argv = [sys.executable, "-c", ENGINE, record.address.host]
    assert record.config == records.fingerprint(argv, env, [left_behind.key])
    assert record.config != records.fingerprint([*argv, "--more"], env, [left_behind.key])
