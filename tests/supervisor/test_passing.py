"""Two supervisors on one state directory, one after the other, and the model's process in between."""

import os
from pathlib import Path

import pytest
import trio

from appliance.domain.status import ReplicaState
from appliance.errors import GatewayError, OperatorError
from appliance.supervisor.orders import Operator
from appliance.supervisor.passing import busy, busy_elsewhere, frozen, handed, settled, taken, unloaded
from appliance.supervisor.records import load
from appliance.supervisor.state_dir import RUN, locked
from appliance.supervisor.succession import Succession
from tests.fakes.supervised import SILENT, Box, runtime

S = ReplicaState


async def test_another_supervisor_goes_on_with_the_same_process(tmp_path: Path) -> None:
    old, new = Box(tmp_path, runtime()), Box(tmp_path, runtime())
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            await nursery.start(old.supervisor.run)
            lease = await old.supervisor.ensure_ready("m")
            (pid,) = old.supervisor.replicas["m"].pids()
            assert await settled(old.supervisor) == ""
            with frozen(old.supervisor):
                running = handed(old.supervisor)
                assert [(one.replica, one.pid, one.ready) for one in running] == [("m", pid, True)]
                succession = Succession(os.dup(old.supervisor.lock), running)
                await nursery.start(new.supervisor.run, succession)
                assert new.state() is S.STOPPED  # it holds the process, and nobody is told so far
                assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
                succession.go.set()
                await taken(new.supervisor, running, 5)
                old.supervisor.let_go()
            new.supervisor.ours()
            assert new.state() is S.READY
            assert new.fleet.snapshot().replicas["m"].pid == pid
            assert old.state() is S.READY  # for what is under way there
            assert busy(old.supervisor) == {"m": 1}
            other = await old.supervisor.ensure_ready("m")
            for one in (lease, other):
                one.release()
            while old.supervisor.lock >= 0 and _is_open(old.supervisor.lock):
                await trio.sleep(0.01)
            assert [saved.record.pid for saved in load(tmp_path / RUN)] == [pid]
            with pytest.raises(OperatorError, match="another appliance"), locked(tmp_path):
                pass  # the new one still holds the lock
            await new.supervisor.stop("m")
            assert new.supervisor.replicas["m"].life is None
            nursery.cancel_scope.cancel()
    with locked(tmp_path):
        pass


def _is_open(file: int) -> bool:
    try:
        os.fstat(file)
    except OSError:
        return False
    return True


async def test_when_nothing_comes_of_it_the_old_one_goes_on(tmp_path: Path) -> None:
    old, new = Box(tmp_path, runtime(), runtime(name="later")), Box(tmp_path, runtime(), runtime(name="later"))
    async with old.running() as supervisor:
        (await supervisor.ensure_ready("m")).release()
        (pid,) = supervisor.replicas["m"].pids()
        with frozen(supervisor):
            orders = Operator(supervisor, state_dir=tmp_path, patience=5, drain=5)
            for order in (orders.load, orders.unload, orders.restart, orders.drain):
                with pytest.raises(GatewayError, match="being upgraded"):
                    await order("m")
            async with trio.open_nursery() as nursery:
                await nursery.start(new.supervisor.run, Succession(os.dup(supervisor.lock), handed(supervisor)))
                nursery.cancel_scope.cancel()
            with trio.move_on_after(0.5) as patience:
                await supervisor.ensure_ready("later")
            assert patience.cancelled_caught  # nothing is started meanwhile
        assert supervisor.replicas["m"].status.pid == pid
        (await supervisor.ensure_ready("later")).release()
        (await supervisor.ensure_ready("m")).release()
        assert supervisor.replicas["m"].pids() == {pid}


async def test_what_cannot_be_taken_over_is_left_alone_and_said(tmp_path: Path) -> None:
    old = Box(tmp_path, runtime())
    others = [Box(tmp_path, runtime(SILENT)), Box(tmp_path, runtime(name="other"))]
    async with old.running() as supervisor:
        (await supervisor.ensure_ready("m")).release()
        for other, why in zip(others, ("its configuration has changed", "not in the configuration"), strict=True):
            with pytest.raises(OperatorError, match=why):
                await other.supervisor.run(Succession(os.dup(supervisor.lock), handed(supervisor)))
        (await supervisor.ensure_ready("m")).release()


async def test_who_waits_for_a_model_is_sent_to_the_one_that_starts_it(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime(SILENT))
    caught: list[GatewayError] = []

    async def ask() -> None:
        with pytest.raises(GatewayError) as told:
            await box.supervisor.ensure_ready("m")
        caught.append(told.value)

    async with trio.open_nursery() as nursery:
        await nursery.start(box.supervisor.run)
        nursery.start_soon(ask)
        while box.state() is not S.STARTING:
            await box.supervisor.moved()
        (process,) = handed(box.supervisor)
        box.supervisor.let_go()
    assert [(error.code, error.retry_after) for error in caught] == [("draining", 1)]
    again = Box(tmp_path, runtime(SILENT))
    async with again.running():
        assert [one.pid for one in handed(again.supervisor)] == [process.pid]


async def test_what_is_half_way_is_waited_for_and_named(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime())
    async with box.running() as supervisor:
        lease = await supervisor.ensure_ready("m")
        supervisor.replicas["m"].begin_drain(60)
        assert await settled(supervisor, 0.2) == "m is draining"
        lease.release()
        supervisor.replicas["m"].begin_stop()
        assert await settled(supervisor, 8) == ""
        assert box.state() is S.STOPPED


async def test_what_an_operator_has_ended_stays_so_and_others_exchanges_keep_a_model_busy(tmp_path: Path) -> None:
    old, new = Box(tmp_path, runtime(start="boot")), Box(tmp_path, runtime(start="boot"))
    async with trio.open_nursery() as nursery:
        await nursery.start(old.supervisor.run)
        await old.supervisor.stop("m")
        assert unloaded(old.supervisor) == ["m"]
        succession = Succession(os.dup(old.supervisor.lock), handed(old.supervisor), unloaded(old.supervisor))
        await nursery.start(new.supervisor.run, succession)
        succession.go.set()
        old.supervisor.let_go()
        new.supervisor.ours()
        busy_elsewhere(new.supervisor, {"m": 2})
        await trio.sleep(0.1)
        assert new.state() is S.STOPPED
        assert [view.busy for view in new.supervisor.views()] == [2]
        busy_elsewhere(new.supervisor, {})
        assert [view.busy for view in new.supervisor.views()] == [0]
        nursery.cancel_scope.cancel()
