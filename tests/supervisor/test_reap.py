import subprocess
import sys
from pathlib import Path

import pytest

from appliance.errors import OperatorError
from appliance.supervisor import records
from appliance.supervisor.reap import reap
from appliance.supervisor.records import Record
from appliance.supervisor.state_dir import instance_of, locked
from appliance.supervisor.tree import Removed, Tags

SLEEPS = "import time; print('up', flush=True); time.sleep(60)"


def sleeper(tags: Tags) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen([sys.executable, "-c", SLEEPS], env=dict(tags.env()), stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    return process


async def test_what_carries_the_tag_is_ended_with_its_records_and_nobody_else(tmp_path: Path) -> None:
    instance = instance_of(tmp_path)
    ours, neighbour = sleeper(Tags(instance, "m")), sleeper(Tags("another", "m"))
    with locked(tmp_path):
        record = Record("m", "m", ours.pid, 1, "b", "unix", "/s", 0, "c", "/log", cgroup="/not/a/cgroup")
        records.save(tmp_path / "run", record, None)
        (tmp_path / "run" / "m.sock").touch()
    assert await reap(tmp_path) == Removed([ours.pid], [])
    ours.communicate()
    assert ours.returncode == -9
    assert neighbour.poll() is None
    assert not any((tmp_path / "run").iterdir())
    assert await reap(tmp_path) == Removed([], [])
    neighbour.kill()
    neighbour.communicate()


async def test_a_directory_in_use_is_left_alone(tmp_path: Path) -> None:
    ours = sleeper(Tags(instance_of(tmp_path), "m"))
    with locked(tmp_path), pytest.raises(OperatorError, match="another appliance"):
        await reap(tmp_path)
    assert ours.poll() is None
    ours.kill()
    ours.communicate()


async def test_a_directory_that_was_never_used_stays_as_it_is(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    assert await reap(absent) == Removed([], [])
    assert not absent.exists()
