import math
import os
import shutil
import threading
from pathlib import Path

import pytest
import trio
from prometheus_client import CollectorRegistry

from appliance.observe import host as room
from appliance.observe.host import Host, HostMetrics, space
from appliance.observe.maker import Maker


def metrics() -> HostMetrics:
    return HostMetrics(Maker(CollectorRegistry()))


async def test_memory_and_disks_are_looked_at_once_at_the_start(tmp_path: Path) -> None:
    own = metrics()
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemAvailable:   40 kB\n")
    with trio.move_on_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Host(own, {"state": str(tmp_path)}, tmp_path / "meminfo").run)
            while not own.size["state",].value:
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    assert own.memory[()].value == 40 * 1024
    total = shutil.disk_usage(tmp_path).total
    assert own.size["state",].value == total
    assert 0 < own.free["state",].value <= total


def test_a_place_that_does_not_exist_yet_is_on_the_disk_of_its_parent(tmp_path: Path) -> None:
    assert space(str(tmp_path / "not" / "yet"))[1] == space(str(tmp_path))[1]


async def test_a_disk_that_does_not_answer_is_unknown_and_the_others_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    over, real = threading.Event(), os.statvfs

    def hangs(path: Path) -> os.statvfs_result:
        if path.name == "gone":
            over.wait(20)
        return real(path)

    (tmp_path / "gone").mkdir()
    monkeypatch.setattr(os, "statvfs", hangs)
    monkeypatch.setattr(room, "_PATIENCE", 0.1)
    own = metrics()
    try:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(Host(own, {"nfs": str(tmp_path / "gone"), "state": str(tmp_path)}).run)
                while ("nfs",) not in own.free or not own.size["state",].value:
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
    finally:
        over.set()
    assert math.isnan(own.free["nfs",].value)


async def test_the_event_loops_lag_is_what_it_woke_too_late(autojump_clock: trio.testing.MockClock) -> None:
    own = metrics()
    with trio.move_on_after(10):
        await Host(own, {}, Path("/no/such")).run()
    assert sum(own.lag[()].counts) >= 39
    assert own.lag[()].total == pytest.approx(0, abs=1e-6)
    assert autojump_clock.rate == 0
