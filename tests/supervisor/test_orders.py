import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from appliance.config.schema import Runtime
from appliance.config.units import Seconds
from appliance.domain.status import ReplicaState
from appliance.errors import GatewayError
from appliance.supervisor.orders import Operator
from tests.fakes import supervised
from tests.fakes.supervised import SILENT, runtime

S = ReplicaState
HOPELESS = "print('error: unknown model architecture: x'); raise SystemExit(1)"


class Box(supervised.Box):
    """A supervisor and its operator."""

    def __init__(self, state_dir: Path, *runtimes: Runtime, drain: float = 5) -> None:
        super().__init__(state_dir, *runtimes, limit=25, load_wait=10, load_queue=10, residence=0, drain=drain)
        self.orders = Operator(self.supervisor, state_dir=state_dir, patience=10, drain=drain)

    @asynccontextmanager
    async def ordered(self) -> AsyncIterator[Operator]:
        async with self.running():
            yield self.orders

    async def until_it_loads(self, name: str) -> None:
        while self.state(name) not in (S.STARTING, S.LOADING):
            await trio.sleep(0.02)


async def test_load_and_unload_are_done_once_and_said_twice(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime())
    async with box.ordered() as orders:
        first, second = await orders.load("m"), await orders.load("m")
        assert (first.ok, first.changed, first.state) == (True, True, "ready")
        assert (second.ok, second.changed, second.state) == (True, False, "ready")
        gone, already = await orders.unload("m"), await orders.unload("m")
        assert (gone.ok, gone.changed, gone.state) == (True, True, "stopped")
        assert (already.ok, already.changed) == (True, False)


async def test_an_unknown_name_is_told(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime())
    async with box.ordered() as orders:
        with pytest.raises(GatewayError, match="no runtime and no replica"):
            await orders.load("n")


async def test_unload_waits_for_what_runs_and_force_does_not(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime())
    async with box.ordered() as orders, trio.open_nursery() as nursery:
        lease = await box.supervisor.ensure_ready("m")
        nursery.start_soon(orders.unload, "m")
        await trio.sleep(0.5)
        assert box.state() is S.DRAINING
        lease.release()
        while box.state() is not S.STOPPED:
            await trio.sleep(0.02)
        await box.supervisor.ensure_ready("m")
        assert (await orders.unload("m", force=True)).ok
        assert box.state() is S.STOPPED


async def test_drain_returns_at_once_and_the_end_follows(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime())
    async with box.ordered() as orders:
        lease = await box.supervisor.ensure_ready("m")
        outcome = await orders.drain("m")
        assert (outcome.ok, outcome.changed, outcome.detail) == (True, True, "1 requests under way")
        assert not (await orders.drain("m")).changed
        lease.release()
        while box.state() is not S.STOPPED:
            await trio.sleep(0.02)


@pytest.mark.parametrize("order", ["unload", "drain"])
async def test_what_an_operator_has_ended_says_so_until_it_is_there_again(tmp_path: Path, order: str) -> None:
    box = Box(tmp_path, runtime())
    async with box.ordered() as orders:
        await orders.load("m")
        await getattr(orders, order)("m")
        while box.state() is not S.STOPPED:
            await trio.sleep(0.02)
        assert "an operator has ended it" in box.fleet.snapshot().replicas["m"].reason
        await orders.restart("m")
        row = box.fleet.snapshot().replicas["m"]
        assert (row.state, row.reason) == (S.READY, "")


async def test_what_an_operator_has_ended_before_it_was_there_is_owed_to_nobody(tmp_path: Path) -> None:
    loads = runtime(script=SILENT, name="a", start="boot", exclusive="g", priority=1)
    box = Box(tmp_path, loads, runtime(name="b", start="boot", exclusive="g"))
    async with box.ordered() as orders:
        await box.until_it_loads("a")
        assert (box.state("b"), box.fleet.snapshot().replicas["b"].owed) == (S.STOPPED, True)
        await orders.unload("b")
        assert not box.fleet.snapshot().replicas["b"].owed


async def test_what_failed_and_nobody_asks_for_any_more_is_owed_to_nobody(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime(script=HOPELESS))
    async with box.ordered() as orders:
        await orders.load("m")
        replica = box.supervisor.replicas["m"]
        assert (box.state(), replica.status.owed) == (S.QUARANTINED, True)
        replica.resume_at = trio.current_time()
        box.supervisor.poke()
        while box.state() is not S.STOPPED:
            await trio.sleep(0.02)
        assert not replica.status.owed


async def test_boot_models_that_take_turns_are_owed_until_one_is_there(tmp_path: Path) -> None:
    box = Box(tmp_path, *(runtime(name=name, start="boot", exclusive="g") for name in "ab"))
    async with box.ordered():
        while any(row.owed for row in box.fleet.snapshot().replicas.values()):
            await trio.sleep(0.02)
        rows = sorted(box.fleet.snapshot().replicas.values(), key=lambda row: row.state is not S.READY)
        assert [row.state for row in rows] == [S.READY, S.STOPPED]
        assert "exclusive" in rows[1].reason


async def test_restart_gives_a_new_process(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime())
    async with box.ordered() as orders:
        await orders.load("m")
        before = box.fleet.snapshot().replicas["m"].pid
        assert (await orders.restart("m")).ok
        assert box.fleet.snapshot().replicas["m"].pid != before


async def test_a_load_that_fails_says_why_and_what_to_do(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime(script=HOPELESS))
    async with box.ordered() as orders:
        outcome = await orders.load("m")
        assert (outcome.ok, outcome.state) == (False, "quarantined")
        assert "unknown model architecture" in outcome.detail
        assert "newer engine" in outcome.detail
        assert box.fleet.snapshot().replicas["m"].starts == 1
        assert not (await orders.load("m")).ok  # tried again, because an operator asked
        assert box.fleet.snapshot().replicas["m"].starts == 2


async def test_replicas_are_loaded_together_and_one_by_one(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime(replicas=2))
    async with box.ordered() as orders:
        assert (await orders.load("m@2")).ok
        assert (box.state("m@1"), box.state("m@2")) == (S.STOPPED, S.READY)
        assert (await orders.load("m")).ok
        assert box.state("m@1") is S.READY
        leases = [await box.supervisor.ensure_ready("m") for _ in range(4)]
        assert sorted(lease.replica for lease in leases) == ["m@1", "m@1", "m@2", "m@2"]


async def test_logs_are_there_also_after_the_end(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime())
    async with box.ordered() as orders:
        await orders.load("m")
        while orders.log_lines("m", 5) != ["listening"]:
            await trio.sleep(0.02)
        await orders.unload("m")
        assert orders.log_lines("m", 5) == ["listening"]
        assert orders.log_lines("m", 0) == []
        assert orders.log_file("m").read_text() == "listening\n"


async def test_explain_shows_the_command_line(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime())
    async with box.ordered() as orders:
        assert orders.explain("m").argv[:2] == (sys.executable, "-c")


async def test_a_new_configuration_touches_what_changed_and_nothing_else(tmp_path: Path) -> None:
    same, goes, other = runtime(name="same"), runtime(name="goes"), runtime(name="other")
    box = Box(tmp_path, same, goes, other)
    async with box.ordered() as orders:
        for name in ("same", "goes", "other"):
            await orders.load(name)
        pids = {name: row.pid for name, row in box.fleet.snapshot().replicas.items()}
        new = [same, msgspec.structs.replace(other, env={"X": "1"}), runtime(name="comes", start="boot")]
        assert [(change.runtime, change.action) for change in orders.preview(new)] == [
            ("goes", "remove"),
            ("same", "keep"),
            ("other", "restart"),
            ("comes", "add"),
        ]
        await orders.apply(new)
        lease = await box.supervisor.ensure_ready("other")  # waits for the new one, and is not refused
        while set(box.fleet.snapshot().replicas) != {"same", "other", "comes"} or box.state("comes") is not S.READY:
            await trio.sleep(0.02)
        now = {name: row.pid for name, row in box.fleet.snapshot().replicas.items()}
        assert now["same"] == pids["same"]
        assert now["other"] != pids["other"]
        lease.release()


async def test_a_changed_runtime_ends_after_its_requests(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime())
    async with box.ordered() as orders:
        lease = await box.supervisor.ensure_ready("m")
        pid = box.fleet.snapshot().replicas["m"].pid
        await orders.apply([runtime(env={"X": "1"})])
        await trio.sleep(0.5)
        assert box.fleet.snapshot().replicas["m"].pid == pid
        lease.release()
        fresh = await box.supervisor.ensure_ready("m")
        assert box.fleet.snapshot().replicas["m"].pid != pid
        fresh.release()


async def test_a_live_setting_takes_effect_at_once(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime())
    async with box.ordered() as orders:
        await orders.load("m")
        await orders.apply([runtime(idle_stop=Seconds(0.2))])
        while box.state() is not S.STOPPED:
            await trio.sleep(0.02)


async def test_who_waits_for_a_model_that_is_restarted_goes_on_waiting(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime())
    async with box.ordered() as orders, trio.open_nursery() as nursery:
        await orders.load("m")
        lease = await box.supervisor.ensure_ready("m")
        nursery.start_soon(orders.restart, "m")
        while box.state() is not S.DRAINING:
            await trio.sleep(0.02)
        served = []

        async def ask() -> None:
            served.append(await box.supervisor.ensure_ready("m"))

        nursery.start_soon(ask)
        await trio.sleep(0.1)
        lease.release()
        while not served:
            await trio.sleep(0.02)
        assert served[0].endpoint != lease.endpoint


async def test_what_an_operator_has_unloaded_is_not_preloaded_again(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime(preload=True))
    async with box.ordered() as orders:
        while box.state() is not S.READY:
            await trio.sleep(0.02)
        assert (await orders.unload("m")).ok
        await trio.sleep(0.3)
        assert box.state() is S.STOPPED
        assert (await orders.load("m")).ok


@pytest.mark.parametrize("ended", [False, True])
async def test_what_is_unloaded_before_it_is_ready_gives_the_room_back(tmp_path: Path, ended: bool) -> None:
    box = Box(tmp_path, runtime(name="old", exclusive="one"), runtime(SILENT, name="new", exclusive="one"))
    async with box.ordered() as orders, trio.open_nursery() as nursery:
        assert (await orders.load("old")).ok
        nursery.start_soon(orders.load, "new")
        await box.until_it_loads("new")
        assert box.state("old") is S.STOPPED
        if ended:  # by an operator, who has the last word
            await orders.unload("old")
        assert (await orders.unload("new")).ok
        while box.supervisor._swaps._gone:
            await trio.sleep(0.02)
        if ended:
            assert not box.supervisor.replicas["old"].wanted
        else:
            while box.state("old") is not S.READY:
                await trio.sleep(0.02)
        nursery.cancel_scope.cancel()


async def test_what_is_restarted_before_it_is_ready_keeps_the_room(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime(name="old", exclusive="one"), runtime(SILENT, name="new", exclusive="one"))
    async with box.ordered() as orders, trio.open_nursery() as nursery:
        assert (await orders.load("old")).ok
        nursery.start_soon(orders.load, "new")
        await box.until_it_loads("new")
        nursery.start_soon(orders.restart, "new")
        while box.fleet.snapshot().replicas["new"].starts < 2:
            await trio.sleep(0.02)
        assert box.fleet.snapshot().replicas["old"].starts == 1
        nursery.cancel_scope.cancel()
