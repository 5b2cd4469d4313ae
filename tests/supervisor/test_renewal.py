"""What `apply` does to a running supervisor is shown in `test_orders`; here is who waits meanwhile."""

from pathlib import Path

import pytest
import trio

from appliance.config.units import Seconds
from appliance.domain.status import ReplicaState
from appliance.supervisor import passing
from appliance.supervisor.orders import Operator
from tests.fakes.supervised import Box, runtime


async def test_while_a_runtime_is_replaced_it_is_on_its_way_out(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime())
    async with box.running() as supervisor:
        lease = await supervisor.ensure_ready("m")
        supervisor.apply([runtime(slots=2)])
        assert supervisor.renewal.under_way == ["m"]
        assert box.state() is ReplicaState.DRAINING
        lease.release()
        while supervisor.renewal.under_way:
            await trio.sleep(0.01)
        assert supervisor.runtimes["m"].slots == 2


async def test_who_is_replaced_is_known_until_the_end_of_the_block(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime())
    with box.supervisor.renewal.replacing("m"):
        assert box.supervisor._lending.replacing == {"m"}
    assert box.supervisor._lending.replacing == set()


async def test_what_is_to_start_at_boot_from_now_on_starts_now(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime(start="on-demand"))
    async with box.running() as supervisor:
        supervisor.apply([runtime(start="on-demand", priority=1)])
        await trio.sleep(0.1)
        assert box.state() is ReplicaState.STOPPED
        supervisor.apply([runtime(start="boot")])
        while box.state() is not ReplicaState.READY:
            await supervisor.moved()


async def test_a_new_limit_gives_what_is_in_quarantine_another_chance(tmp_path: Path) -> None:
    broken = "print('error: unknown model architecture: x'); raise SystemExit(1)"
    box = Box(tmp_path, runtime(script=broken, start="boot"))
    async with box.running() as supervisor:
        while box.state() is not ReplicaState.QUARANTINED:
            await supervisor.moved()
        supervisor.apply([runtime(script=broken, start="boot", load_limit=Seconds(7))])
        while supervisor.replicas["m"].status.starts < 2:
            await supervisor.moved()


@pytest.mark.parametrize("again", [False, True])
async def test_who_gives_back_a_replica_after_it_was_removed_brings_no_row_back(tmp_path: Path, again: bool) -> None:
    """A client that reads slowly may hold it for longer than the process lives, and the name may be another's by then."""
    box = Box(tmp_path, runtime(), drain=0.1)
    async with box.running() as supervisor:
        lease = await supervisor.ensure_ready("m")
        old = supervisor.replicas["m"]
        supervisor.apply([runtime(slots=2)] if again else [])
        while supervisor.renewal.under_way:
            await trio.sleep(0.01)
        if again:
            (await supervisor.ensure_ready("m")).release()
        before = box.fleet.snapshot().replicas
        lease.release()
        assert not old.leases
        assert box.fleet.snapshot().replicas == before
        assert ("m" in before) is again


@pytest.mark.parametrize("ordered", [False, True])
async def test_what_the_process_before_us_still_answers_may_finish(tmp_path: Path, ordered: bool) -> None:
    """After an upgrade its exchanges use our replica, and a reload or an order ends that in good order all the same."""
    box = Box(tmp_path, runtime())
    async with box.running() as supervisor, trio.open_nursery() as nursery:
        (await supervisor.ensure_ready("m")).release()
        passing.busy_elsewhere(supervisor, {"m": 1})
        if ordered:
            operator = Operator(supervisor, state_dir=tmp_path, patience=5, drain=30)
            nursery.start_soon(operator.unload, "m")
        else:
            supervisor.apply([])
        await trio.sleep(0.5)
        assert box.state() is ReplicaState.DRAINING
        passing.busy_elsewhere(supervisor, {})
        while (row := box.fleet.snapshot().replicas.get("m")) and row.state is not ReplicaState.STOPPED:
            await supervisor.moved()
