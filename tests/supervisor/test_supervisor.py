import stat
import sys
import uuid
from pathlib import Path
from unittest.mock import Mock

import pytest
import trio

from appliance.domain.status import ReplicaState
from appliance.errors import GatewayError, OperatorError
from appliance.supervisor import spawn
from appliance.supervisor.supervisor import Supervisor
from appliance.supervisor.tree import Tags
from tests.fakes.supervised import BROKEN, SILENT, Box, runtime

S = ReplicaState


async def refused(supervisor: Supervisor) -> GatewayError:
    with pytest.raises(GatewayError) as info:
        await supervisor.ensure_ready("m")
    return info.value


async def test_many_requests_start_a_cold_model_once(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime())
    async with box.running() as supervisor:
        endpoints = []

        async def ask() -> None:
            lease = await supervisor.ensure_ready("m")
            endpoints.append(lease.endpoint)
            lease.release()

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(ask)
        assert len(endpoints) == 50
        assert len(set(endpoints)) == 1
        assert box.fleet.snapshot().replicas["m"].starts == 1
        assert endpoints[0].address.scheme == "unix"
        await supervisor.stop("m")
        assert box.state() is S.STOPPED
        assert (await supervisor.ensure_ready("m")).endpoint.credential != endpoints[0].credential


async def test_a_full_queue_refuses_and_leaving_it_is_free(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime(SILENT), load_queue=2)
    async with box.running() as supervisor, trio.open_nursery() as waiters:
        for _ in range(2):
            waiters.start_soon(refused, supervisor)
        await trio.sleep(0.1)
        error = await refused(supervisor)
        assert error.code == "queue_full"
        assert error.retry_after
        waiters.cancel_scope.cancel()
    assert supervisor.waiting("m") == 0


async def test_the_deadline_of_a_waiting_request_says_what_the_model_does(tmp_path: Path) -> None:
    async with Box(tmp_path, runtime(SILENT), load_wait=0.4).running() as supervisor:
        error = await refused(supervisor)
        assert error.code == "model_loading"
        assert error.extras == {"state": "starting", "reason": "", "progress": error.extras["progress"]}
        assert error.retry_after
        assert supervisor.waiting("m") == 0


async def test_a_model_that_will_not_be_back_in_time_is_refused_at_once(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime(BROKEN), load_wait=0.5)
    async with box.running() as supervisor, trio.open_nursery() as nursery:
        nursery.start_soon(refused, supervisor)  # starts it; what this one hears depends on how quickly it crashes
        while box.state() is not S.BACKOFF:
            await trio.sleep(0.02)
        error = await refused(supervisor)
        assert error.code == "model_crashed"
        assert error.extras == {"state": "backoff", "reason": "exit code 1: error: bad model", "progress": ""}
        assert error.retry_after
        assert 1 <= error.retry_after <= 2
        assert "bad model" in error.message


async def test_a_boot_runtime_starts_by_itself_and_a_drain_refuses_new_work(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime(start="boot"))
    async with box.running() as supervisor:
        while box.state() is not S.READY:
            await trio.sleep(0.02)
        supervisor.drain()
        assert box.state() is S.DRAINING
        assert (await refused(supervisor)).code == "draining"


async def test_a_stop_tells_those_who_wait(tmp_path: Path) -> None:
    async with Box(tmp_path, runtime(SILENT)).running() as supervisor, trio.open_nursery() as nursery:

        async def wait() -> None:
            assert "was stopped" in (await refused(supervisor)).message

        nursery.start_soon(wait)
        await trio.sleep(0.1)
        await supervisor.stop("m")


async def test_what_a_killed_appliance_left_behind_is_removed_before_the_start(tmp_path: Path) -> None:
    instance = str(uuid.uuid4())
    (tmp_path / "instance").write_text(instance)
    old = spawn.spawn([sys.executable, "-c", SILENT], Tags(instance, "m").env(), tmp_path / "old.log")
    async with Box(tmp_path, runtime()).running():
        assert spawn.exit_code(old) == -9
    spawn.collect(old)


async def test_a_runtime_that_changes_while_it_is_exchanged_becomes_what_it_was_told_last(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime(start="boot"))
    pids: set[int | None] = set()
    box.fleet.watch_replicas(lambda _, row: pids.add(row.pid))
    async with box.running() as supervisor:
        while box.state() is not S.READY:
            await trio.sleep(0.01)
        variants = [runtime(start="boot", env={"N": str(number)}) for number in range(3)]
        supervisor.apply(variants[:1])
        supervisor.apply([])
        supervisor.apply(variants[1:2])
        supervisor.apply([runtime(start="boot")])  # back to what it was, and its process already has to go
        supervisor.apply(variants[2:])
        while supervisor.runtimes.get("m") != variants[2] or box.state() is not S.READY:
            await trio.sleep(0.01)
        assert len(pids - {None}) == 2
        supervisor.apply(variants[:1])
        supervisor.apply([])
        while supervisor.runtimes or supervisor.replicas:
            await trio.sleep(0.01)


async def test_two_appliances_cannot_share_a_state_directory(tmp_path: Path) -> None:
    async with Box(tmp_path, runtime()).running():
        with pytest.raises(OperatorError, match=r"another appliance \(pid \d+\) uses"):
            await Box(tmp_path, runtime()).supervisor.run()
    async with Box(tmp_path, runtime()).running():
        pass


async def test_the_state_directory_is_private(tmp_path: Path) -> None:
    home = tmp_path / "a" / "b"
    async with Box(home, runtime(start="boot")).running() as supervisor:
        await supervisor.ensure_ready("m")
        for path, mode in [(home, 0o700), (home / "logs", 0o700), (home / "run", 0o700), (home / "instance", 0o600)]:
            assert stat.S_IMODE(path.stat().st_mode) == mode
        assert stat.S_IMODE((home / "logs" / "m.log").stat().st_mode) == 0o600
    assert list((home / "run").iterdir()) == []


async def test_an_unusable_state_directory_is_the_operators_to_fix(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OperatorError, match="cannot use state_dir"):
        await Box(tmp_path / "file", runtime()).supervisor.run()


async def test_a_long_state_directory_gets_its_sockets_in_a_short_private_one(tmp_path: Path) -> None:
    async with Box(tmp_path / ("x" * 100), runtime()).running() as supervisor:
        socket = Path((await supervisor.ensure_ready("m")).endpoint.address.host)
        assert len(str(socket)) < 100
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    assert not socket.parent.exists()


async def test_a_name_with_a_slash_stays_inside_the_state_directory(tmp_path: Path) -> None:
    async with Box(tmp_path, runtime(name="../org/m")).running() as supervisor:
        await supervisor.ensure_ready("../org/m")
        assert [path.name for path in (tmp_path / "logs").iterdir()] == ["..%2Forg%2Fm.log"]


async def test_nobody_gets_the_use_of_what_has_just_been_told_to_end(tmp_path: Path) -> None:
    """It is still ready for as long as its own task has not run; whoever comes now waits for the next process."""
    box = Box(tmp_path, runtime())
    async with box.running() as supervisor:
        (await supervisor.ensure_ready("m")).release()
        replica = supervisor.replicas["m"]
        (before,) = replica.pids()
        replica.begin_stop("makes room for another")
        assert box.state() is S.READY
        assert replica.lend() is None
        lease = await supervisor.ensure_ready("m")
        assert replica.pids() != {before}
        lease.release()


async def test_a_look_sees_each_replica_once_and_again_when_a_swap_was_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Box(tmp_path, runtime())
    async with box.running() as supervisor:
        seen = Mock(wraps=supervisor.views)
        monkeypatch.setattr(supervisor, "views", seen)
        supervisor._look()
        assert seen.call_count == 1
        supervisor._swaps.begin("nobody", "m")
        assert [action.kind for action in supervisor._look().actions] == ["start"]
        assert seen.call_count == 3
