import os
from pathlib import Path

import pytest
import trio
from prometheus_client import ProcessCollector

from appliance.observe.process import Process, started

UNSTEADY = {"process_cpu_seconds", "process_resident_memory_bytes", "process_virtual_memory_bytes"}


def test_it_tells_what_the_librarys_own_tells() -> None:
    library = {family.name: family for family in ProcessCollector(registry=None).collect()}
    ours = {family.name: family for family in Process().collect()}
    assert {(family.name, family.type, family.documentation) for family in ours.values()} == {
        (family.name, family.type, family.documentation) for family in library.values()
    }
    for name, family in library.items():
        (theirs,), (sample,) = family.samples, ours[name].samples
        assert sample.name == theirs.name
        assert name in UNSTEADY or sample.value == theirs.value, name
        assert sample.value > 0


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A process with many open files."""
    own = tmp_path / "self"
    (own / "fd").mkdir(parents=True)
    for number in range(2_345):
        (own / "fd" / str(number)).touch()
    (own / "stat").write_text(Path("/proc/self/stat").read_text())
    return tmp_path


async def test_many_descriptors_are_counted_in_slices(proc: Path) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        metrics = await Process(str(proc)).collect_in_slices()
        nursery.cancel_scope.cancel()
    assert {metric.name: metric.samples[0].value for metric in metrics}["process_open_fds"] == 2_345
    assert turns >= 3  # one for every 500 descriptors but the first


async def test_without_proc_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert Process(str(tmp_path)).collect() == []
    assert await Process(str(tmp_path)).collect_in_slices() == []


def test_when_another_process_was_started() -> None:
    (own,) = (family.samples[0].value for family in Process().collect() if family.name == "process_start_time_seconds")
    assert started(os.getpid()) == own
    assert started(2**22 + 1) is None
