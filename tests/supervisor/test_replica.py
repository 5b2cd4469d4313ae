import os
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path
from typing import Any

import pytest
import trio

from appliance.config.schema import Runtime
from appliance.config.units import Seconds
from appliance.domain.status import ProbeAnswer, ReplicaState, ReplicaStatus
from appliance.domain.targets import Endpoint
from appliance.errors import GatewayError
from appliance.fleet.table import FleetTable
from appliance.supervisor import life
from appliance.supervisor.life import Place
from appliance.supervisor.pauses import Record
from appliance.supervisor.replica import Replica
from appliance.supervisor.tree import become_subreaper, tagged
from appliance.supervisor.watching import Senses

S = ReplicaState
SLEEP = "import time; print('model loaded', flush=True); time.sleep(60)"


class Scene:
    """A replica with a probe that answers what the test says."""

    def __init__(self, path: Path, script: str, **settings: Any) -> None:
        become_subreaper()
        self.answer = ProbeAnswer(ok=True)
        self.history: list[ReplicaStatus] = []
        fleet = FleetTable()
        fleet.watch_replicas(lambda _, row: self.history.append(row))
        command = (sys.executable, "-c", script, "{socket}")
        defaults: dict[str, Any] = {"engine": "command", "command": command, "stop_grace": Seconds(1)}
        runtime = Runtime(name="m", **(defaults | settings))
        self.place = Place(str(uuid.uuid4()), path, path / "m.sock", path / "m.log")
        senses = Senses(self._probe, lambda: 0.0, lambda: 1.8e9, 0.05)
        self.replica = Replica(runtime, "m", fleet=fleet, senses=senses)

    async def _probe(self, endpoint: Endpoint, path: str) -> ProbeAnswer:
        assert endpoint.credential
        await trio.lowlevel.checkpoint()
        return self.answer

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Replica]:
        with trio.fail_after(8):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.replica.run, self.place)
                nursery.start_soon(self._let_start)
                self.replica.want()
                yield self.replica
                nursery.cancel_scope.cancel()
        assert tagged(self.place.instance) == set()

    async def _let_start(self) -> None:
        """What the supervisor's plan does on a box without GPUs."""
        while True:
            row, now = self.replica.status, trio.current_time()
            idle = self.replica.life is None and row.state in (S.STOPPED, S.BACKOFF)
            if self.replica.wanted and idle and now >= self.replica.resume_at:
                self.replica.go(None)
            with trio.move_on_after(0.05):
                await self.replica.changed()

    async def until(self, true: Callable[[ReplicaStatus], bool]) -> ReplicaStatus:
        """The current row or the next that is so; also one that lasts for a moment only."""
        at = max(0, len(self.history) - 1)
        while True:
            for row in self.history[at:]:
                if true(row):
                    return row
            at = len(self.history)
            await self.replica.changed()

    def states(self) -> list[str]:
        """The states in order, without repetitions."""
        rows = [str(row.state) for row in self.history]
        return [state for index, state in enumerate(rows) if index == 0 or rows[index - 1] != state]


async def test_a_life_goes_from_stopped_over_ready_back_to_stopped(tmp_path: Path) -> None:
    scene = Scene(tmp_path, SLEEP)
    async with scene.running() as replica:
        row = await scene.until(lambda row: row.state is S.READY)
        assert row.pid
        assert row.endpoint
        assert row.endpoint.address.host == str(tmp_path / "m.sock")
        await replica.stop()
        assert (replica.status.state, replica.status.pid, replica.status.endpoint) == (S.STOPPED, None, None)
        await replica.stop()
        replica.want()
        await scene.until(lambda row: row.state is S.READY)
    assert scene.states() == [
        "stopped",
        "starting",
        "ready",
        "stopping",
        "stopped",
        "starting",
        "ready",
        "stopping",
        "stopped",
    ]


async def test_loading_shows_the_last_log_line_as_progress(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "import time; print('40 %', flush=True); time.sleep(60)")
    scene.answer = ProbeAnswer(ok=False, loading=True)
    async with scene.running():
        assert (await scene.until(lambda row: row.progress == "40 %")).state is S.LOADING
        scene.answer = ProbeAnswer(ok=True)
        assert (await scene.until(lambda row: row.state is S.READY)).progress == ""


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            "print('loading'); print('error: it went wrong'); print('bye'); raise SystemExit(7)",
            "exit code 7: error: it went wrong",
        ),
        ("pass", "exit code 0"),
        ("import os; os.kill(os.getpid(), 11)", "killed by signal 11 (SIGSEGV)"),
    ],
)
async def test_any_exit_nobody_asked_for_is_a_crash_with_a_reason(tmp_path: Path, script: str, reason: str) -> None:
    scene = Scene(tmp_path, script)
    scene.answer = ProbeAnswer(ok=False)
    async with scene.running():
        row = await scene.until(lambda row: row.state is S.BACKOFF)
        assert row.reason == reason
        assert row.endpoint is None
        await scene.until(lambda row: row.restarts == 2)


async def test_one_that_dies_while_it_finishes_its_work_has_crashed_like_any_other(tmp_path: Path) -> None:
    scene = Scene(tmp_path, SLEEP)
    async with scene.running() as replica:
        row = await scene.until(lambda row: row.state is S.READY)
        replica.begin_drain(60)
        os.kill(row.pid or 0, 9)
        assert "SIGKILL" in (await scene.until(lambda row: row.state is S.BACKOFF)).reason
        assert not replica.wanted
        replica.want()
        await scene.until(lambda row: row.state is S.READY)
        assert replica.drain_until is None


async def test_a_killed_leader_is_replaced_after_the_rest_of_its_tree_is_gone(tmp_path: Path) -> None:
    script = (
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}], start_new_session=True)\n{SLEEP}"
    )
    scene = Scene(tmp_path, script)
    async with scene.running():
        first = (await scene.until(lambda row: row.state is S.READY)).pid
        assert first
        while len(before := tagged(scene.place.instance)) < 2:
            await trio.sleep(0.02)
        os.kill(first, 9)
        row = await scene.until(lambda row: row.state is S.STARTING)
        assert not before & tagged(scene.place.instance)
        assert "SIGKILL" in row.reason, "the last crash stays visible while it starts again"
        assert (await scene.until(lambda row: row.state is S.READY)).pid != first


async def test_a_missing_program_is_not_tried_again_until_somebody_asks(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "", command=("/no/such/engine",))
    async with scene.running() as replica:
        row = await scene.until(lambda row: row.state is S.QUARANTINED)
        assert (row.reason, row.cause, row.restarts) == ("program not found: /no/such/engine", "config", 1)
        assert row.advice
        await trio.sleep(0.2)
        assert replica.status.starts == 1
        replica.want()
        await scene.until(lambda row: row.starts == 2)
        await scene.until(lambda row: row.restarts == 2)
        await replica.stop()
        assert scene.states()[-1] == "stopped"


async def test_a_start_without_progress_is_given_up(tmp_path: Path) -> None:
    scene = Scene(tmp_path, SLEEP, load_stall=Seconds(0.5))
    scene.answer = ProbeAnswer(ok=False)
    async with scene.running():
        row = await scene.until(lambda row: row.state is S.BACKOFF)
        assert "load_stall" in row.reason
    assert scene.states()[:4] == ["stopped", "starting", "stopping", "backoff"]


async def test_a_ready_replica_that_fails_its_probe_is_unhealthy_until_it_passes(tmp_path: Path) -> None:
    scene = Scene(tmp_path, SLEEP)
    async with scene.running():
        await scene.until(lambda row: row.state is S.READY)
        scene.answer = ProbeAnswer(ok=False, detail="500")
        assert "500" in (await scene.until(lambda row: not row.healthy)).reason
        scene.answer = ProbeAnswer(ok=True)
        assert (await scene.until(lambda row: row.healthy)).reason == ""


async def test_a_draining_replica_is_not_started_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path, SLEEP)
    async with scene.running() as replica:
        row = await scene.until(lambda row: row.state is S.READY)
        replica.close()
        assert replica.status.state is S.DRAINING
        assert row.pid
        os.kill(row.pid, 9)
        await scene.until(lambda row: row.state is S.STOPPED)
        replica.want()
        await trio.sleep(0.1)
        assert scene.states()[-1] == "stopped"


async def test_the_childs_key_is_new_for_every_start_and_reaches_it_by_environment(tmp_path: Path) -> None:
    script = """
import os
open(os.environ['HOME'] + '/key', 'a').write(os.environ['APPLIANCE_CHILD_KEY'] + '\\n')
print(os.environ['LLAMA_API_KEY'])
"""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path))
        scene = Scene(tmp_path, script)
        scene.answer = ProbeAnswer(ok=False)
        async with scene.running():
            row = await scene.until(lambda row: row.restarts == 1)
    assert row.reason.endswith("exit code 0: ***")
    keys = {row.endpoint.credential.reveal for row in scene.history if row.endpoint and row.endpoint.credential}
    assert (tmp_path / "key").read_text().split()[0] in keys


class Answer:
    """An exchange as a replica sees it."""

    def __init__(self) -> None:
        self.bytes_out = 0
        self.errors: list[GatewayError] = []

    def cut(self, error: GatewayError) -> None:
        self.errors.append(error)


async def test_what_it_still_answers_ends_with_an_error_when_it_is_stopped(tmp_path: Path) -> None:
    scene = Scene(tmp_path, SLEEP)
    async with scene.running() as replica:
        await scene.until(lambda row: row.state is S.READY)
        lease, answer = replica.lend(), Answer()
        assert lease is not None
        lease.user = answer
        replica.begin_drain(60)
        assert answer.errors == []
        assert replica.lend() is None
        await replica.stop("unloaded")
        assert [error.code for error in answer.errors] == ["draining"]
        assert "unloaded" in answer.errors[0].message


async def test_the_shortest_limit_of_a_drain_counts(tmp_path: Path) -> None:
    scene = Scene(tmp_path, SLEEP)
    async with scene.running() as replica:
        await scene.until(lambda row: row.state is S.READY)
        replica.begin_drain(600, "makes room for x", to_sleep=True)
        assert replica.to_sleep
        replica.begin_drain(10)
        assert replica.drain_until is not None
        assert replica.drain_until <= trio.current_time() + 10
        replica.begin_drain(100)
        assert replica.drain_until <= trio.current_time() + 10
        assert not replica.to_sleep


async def test_a_process_that_is_taken_over_is_known_before_anybody_looks(tmp_path: Path) -> None:
    scene = Scene(tmp_path, SLEEP)
    own = life.begin(scene.replica.runtime, "m", scene.place, (1,), trio.current_time())
    scene.replica.go(None)
    scene.replica.adopt(own)
    assert (scene.replica.status.state, scene.replica.status.gpus) == (S.STARTING, (1,))
    async with scene.running() as replica:
        row = await scene.until(lambda row: row.state is S.READY)
        assert (row.adopted, row.pid, row.gpus, row.starts) == (True, own.process.pid, (1,), 0)
        assert replica.permit is None, "what was allowed before is not started after its end"


async def test_a_process_that_is_taken_over_can_be_told_to_stop_before_its_task_runs(tmp_path: Path) -> None:
    scene = Scene(tmp_path, SLEEP)
    scene.replica.adopt(life.begin(scene.replica.runtime, "m", scene.place, None, trio.current_time()))
    scene.replica.begin_stop()
    with trio.fail_after(8):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scene.replica.run, scene.place)
            await scene.until(lambda row: row.state is S.STOPPED and row.pid is None)
            nursery.cancel_scope.cancel()
    assert not scene.replica.wanted


@pytest.mark.parametrize(("start", "wanted"), [("boot", True), ("on-demand", False)])
async def test_the_end_of_a_quarantine_is_a_new_beginning_for_what_starts_at_boot(
    tmp_path: Path, start: str, wanted: bool
) -> None:
    replica = Scene(tmp_path, SLEEP, start=start).replica
    for state in (S.STARTING, S.BACKOFF, S.QUARANTINED):
        replica.write(state)
    replica.reset("its time is over")
    assert (replica.status.state, replica.status.reason, replica.wanted) == (S.STOPPED, "its time is over", wanted)
    replica.write(S.STARTING)
    replica.reset("not now")
    assert replica.status.state is S.STARTING


async def test_what_is_in_quarantine_says_whether_it_is_tried_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "print('unrecognized arguments'); raise SystemExit(1)")
    async with scene.running() as replica:
        row = await scene.until(lambda row: row.state is S.QUARANTINED)
        assert "once more" not in row.advice
        assert replica.resume_at == inf
    scene = Scene(tmp_path, "print('CUDA out of memory'); raise SystemExit(1)")
    async with scene.running() as replica:
        replica.failures = Record(1, (trio.current_time(),), "oom", 1)
        row = await scene.until(lambda row: row.state is S.QUARANTINED)
        assert row.advice.endswith("It is tried once more an hour after its last failure.")
        assert 3500 < replica.resume_at - trio.current_time() <= 3600


async def test_who_waits_for_room_after_a_failure_says_so_and_the_failure_is_told_at_its_start(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "raise SystemExit(3)")
    replica = scene.replica
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(replica.run, scene.place)
            replica.go(None)
            while replica.status.restarts == 0:
                await replica.changed()
            replica.explain_wait("waits for other to load")
            assert (replica.status.state, replica.status.reason) == (S.STOPPED, "waits for other to load")
            replica.go(None)
            row = await scene.until(lambda row: row.state is S.STARTING)
            assert row.reason == "after exit code 3"
            nursery.cancel_scope.cancel()
