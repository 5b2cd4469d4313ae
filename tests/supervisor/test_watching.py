"""A real process, and senses that tell what the test says."""

import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio

from appliance.config.schema import Runtime
from appliance.config.units import Seconds
from appliance.domain.status import Footprint, Measure, ProbeAnswer, Reading, ReplicaState, ReplicaStatus
from appliance.domain.targets import Endpoint, Lease
from appliance.supervisor import life
from appliance.supervisor.life import Place
from appliance.supervisor.tree import become_subreaper
from appliance.supervisor.verdict import Cause
from appliance.supervisor.watching import Senses, Watching

S = ReplicaState
SLEEP = "import time; print('loading 45 %', flush=True); time.sleep(60)"


class Patient:
    """A replica as `Watching` sees it, and everything that can be sensed of it."""

    def __init__(self, path: Path, **settings: Any) -> None:
        become_subreaper()
        command = (sys.executable, "-c", SLEEP, "{socket}")
        defaults: dict[str, Any] = {"engine": "command", "command": command, "canary": True}
        self.runtime = Runtime(name="m", **(defaults | settings))
        self.status = ReplicaStatus("m", "m", "command", S.STARTING, 0.0)
        self.leases: set[Lease] = set()
        self.last_start: float | None = None
        self.used = 0.0
        self.proven: int | None = None
        self.turned, self.stopping = trio.Event(), trio.Event()
        self.rows: list[ReplicaStatus] = []
        self.answer = ProbeAnswer(ok=True)
        self.status_of_canary = self.status_of_numbers = 200
        self.readings: list[Reading | None] = []
        self.footprints: list[Footprint] = []
        self.missed: list[ReplicaStatus] = []
        self.probes = 0
        self.tokens = 0
        self.sent: list[str] = []
        self.asleep = False
        self._path = path

    def write(self, state: ReplicaState, **facts: object) -> None:
        self.status = replace(self.status, state=state, **facts)  # type: ignore[arg-type]  # named facts of the row
        self.rows.append(self.status)

    async def probe(self, _: Endpoint, __: str) -> ProbeAnswer:
        await trio.lowlevel.checkpoint()
        self.probes += 1
        return self.answer

    def took(self, row: ReplicaStatus, reading: Reading | None, seconds: float) -> None:
        assert row is self.status
        assert seconds >= 0
        self.readings.append(reading)

    def weighed(self, row: ReplicaStatus, footprint: Footprint) -> None:
        assert row is self.status
        self.footprints.append(footprint)

    async def send(self, _: Endpoint, method: str, path: str, __: bytes) -> tuple[int, bytes]:
        self.sent.append(f"{method} {path}")
        match path.partition("?")[0]:
            case "/metrics" if self.status_of_numbers != 200:
                return self.status_of_numbers, b""
            case "/metrics":
                return 200, f"llamacpp:tokens_predicted_total {self.tokens}\n".encode()
            case "/sleep":
                self.asleep = True
            case "/wake_up":
                self.asleep = False
            case "/is_sleeping":
                return 200, f'{{"is_sleeping": {str(self.asleep).lower()}}}'.encode()
            case _:
                return self.status_of_canary, b"{}"
        return 200, b"{}"

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[tuple[Watching, life.Life]]:
        there = Place(str(uuid.uuid4()), self._path, self._path / "m.sock", self._path / "m.log")
        own = life.begin(self.runtime, "m", there, None, trio.current_time())
        senses = Senses(
            self.probe,
            lambda: 0.0,
            lambda: 0.0,
            0.05,
            self.send,
            held_by_gpu=lambda pids: {0: 5} if own.process.pid in pids else {},
            told=self.took,
            weighed=self.weighed,
            missed=self.missed.append,
        )
        try:
            with trio.fail_after(20):
                yield Watching(self, own, senses), own
        finally:
            await own.end(0.5, lambda _: None)


async def test_ready_means_healthy_and_one_token(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    async with patient.watched() as (watching, own):
        assert await watching.become_ready()
    assert patient.status.state is S.READY
    assert patient.sent == ["POST /v1/completions"]
    assert own.ready is not None
    assert patient.last_start is not None


async def test_what_it_works_on_at_once_is_known_with_its_readiness(tmp_path: Path) -> None:
    patient = Patient(tmp_path, slots=3)
    async with patient.watched() as (watching, _):
        assert await watching.become_ready()
    assert patient.status.slots == 3


async def test_healthy_without_an_answer_is_not_ready(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    patient.status_of_canary = 500
    async with patient.watched() as (watching, own):
        assert not await watching.become_ready()
    assert own.cause is Cause.CANARY
    assert "answered 500" in own.gave_up
    assert S.READY not in {row.state for row in patient.rows}


async def test_the_canary_can_be_switched_off(tmp_path: Path) -> None:
    patient = Patient(tmp_path, canary=False)
    async with patient.watched() as (watching, _):
        assert await watching.become_ready()
    assert patient.sent == []


async def test_loading_shows_its_stage(tmp_path: Path) -> None:
    patient = Patient(tmp_path, load_stall=Seconds(1))
    patient.answer = ProbeAnswer(ok=False, detail="refused")
    async with patient.watched() as (watching, own), trio.open_nursery() as nursery:
        nursery.start_soon(own.tail.follow)
        assert not await watching.become_ready()
        nursery.cancel_scope.cancel()
    assert (patient.status.stage, patient.status.percent) == ("loading", 45)
    assert own.cause is Cause.START_TIMEOUT
    assert own.gave_up == "no progress for 1 s while starting (load_stall), while loading"


async def test_requests_that_run_while_nothing_moves_end_it(tmp_path: Path) -> None:
    patient = Patient(tmp_path, stall_limit=Seconds(0.3))
    async with patient.watched() as (watching, own):
        assert await watching.become_ready()
        assert own.endpoint is not None
        patient.leases.add(Lease(own.endpoint, "m"))
        assert not await watching.stay_ready()
    assert own.cause is Cause.STALLED
    assert own.gave_up.startswith("1 requests run and no token has moved")


async def test_moving_tokens_keep_it_whatever_its_health_says(tmp_path: Path) -> None:
    patient = Patient(tmp_path, stall_limit=Seconds(0.5), dead_limit=Seconds(0.5))
    async with patient.watched() as (watching, own):
        assert await watching.become_ready()
        patient.leases.add(Lease(own.endpoint, "m"))
        patient.answer = ProbeAnswer(ok=False, detail="no answer within 5 s")
        with trio.move_on_after(2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watching.stay_ready)
                while True:
                    patient.tokens += 1
                    await trio.sleep(0.05)
    assert own.cause is None
    assert patient.status.healthy
    assert "it is busy" in patient.status.reason


async def test_its_own_numbers_are_taken_at_each_look_while_it_is_idle_too(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    async with patient.watched() as (watching, _), trio.open_nursery() as nursery:
        assert await watching.become_ready()
        nursery.start_soon(watching.stay_ready)
        while len(patient.readings) < 3:
            patient.tokens = 7
            await trio.sleep(0.01)
        patient.status_of_numbers = 503
        while patient.readings[-1] is not None:
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert {Measure.GENERATED: 7} in patient.readings


async def test_what_its_processes_use_is_told_at_each_look(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    async with patient.watched() as (watching, _), trio.open_nursery() as nursery:
        assert await watching.become_ready()
        nursery.start_soon(watching.stay_ready)
        while len(patient.footprints) < 3:
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert {footprint.processes for footprint in patient.footprints} == {1}
    assert min(footprint.resident for footprint in patient.footprints) > 0
    assert patient.footprints[-1].gpu_memory == {0: 5}
    assert patient.missed == []
    spent = [footprint.cpu for footprint in patient.footprints]
    assert spent == sorted(spent)


async def test_every_probe_that_fails_while_it_is_ready_is_told(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    async with patient.watched() as (watching, _), trio.open_nursery() as nursery:
        assert await watching.become_ready()
        patient.answer = ProbeAnswer(ok=False, detail="silence")
        nursery.start_soon(watching.stay_ready)
        while len(patient.missed) < 3:
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert patient.missed[0].state is ReplicaState.READY


async def test_a_program_that_has_no_numbers_is_asked_once(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    patient.status_of_numbers = 404
    async with patient.watched() as (watching, _), trio.open_nursery() as nursery:
        assert await watching.become_ready()
        nursery.start_soon(watching.stay_ready)
        while patient.probes < 6:
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert patient.sent.count("GET /metrics") == 1
    assert patient.readings == []


async def test_one_that_has_told_its_numbers_and_tells_none_has_not_answered(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    async with patient.watched() as (watching, _), trio.open_nursery() as nursery:
        assert await watching.become_ready()
        nursery.start_soon(watching.stay_ready)
        while not patient.readings:
            await trio.sleep(0.01)
        patient.status_of_numbers = 404
        while None not in patient.readings:
            await trio.sleep(0.01)
        patient.status_of_numbers = 200
        known = len([one for one in patient.readings if one])
        while len([one for one in patient.readings if one]) == known:
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()


async def test_one_that_does_not_answer_its_probe_is_not_asked_for_numbers(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    async with patient.watched() as (watching, _), trio.open_nursery() as nursery:
        assert await watching.become_ready()
        patient.answer = ProbeAnswer(ok=False, detail="refused")
        nursery.start_soon(watching.stay_ready)
        while patient.readings.count(None) < 2:
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert patient.sent.count("GET /metrics") == 1  # at the beginning


async def test_a_health_that_fails_while_nothing_runs_ends_it(tmp_path: Path) -> None:
    patient = Patient(tmp_path, dead_limit=Seconds(0.3))
    async with patient.watched() as (watching, own):
        assert await watching.become_ready()
        patient.answer = ProbeAnswer(ok=False, detail="GET /health answered 500")
        assert not await watching.stay_ready()
    assert own.cause is Cause.ENGINE_DEAD
    assert "answered 500" in own.gave_up
    assert not patient.status.healthy


async def test_it_sleeps_and_wakes_up(tmp_path: Path) -> None:
    patient = Patient(tmp_path, sleep=1)
    async with patient.watched() as (watching, _), trio.open_nursery() as nursery:
        assert await watching.become_ready()
        woke = []

        async def stay() -> None:
            woke.append(await watching.stay_ready())
            nursery.cancel_scope.cancel()

        nursery.start_soon(stay)
        patient.turned.set()
        while not patient.asleep:
            await trio.sleep(0.02)
        while str(patient.status.state) != "sleeping":
            await trio.sleep(0.02)
        known, probes = len(patient.footprints), patient.probes
        while len(patient.footprints) < known + 2:  # it is looked at while it sleeps, too
            await trio.sleep(0.02)
        assert patient.probes >= probes + 2
        assert patient.asleep
        patient.turned.set()
    assert woke == [True]
    assert "POST /wake_up" in patient.sent
    assert [row.state for row in patient.rows][-3:] == [S.DRAINING, S.SLEEPING, S.LOADING]


async def test_whoever_comes_as_it_is_told_to_sleep_is_served_and_it_need_not_prove_itself_beside_that(
    tmp_path: Path,
) -> None:
    """A request for a single token, which proves that, would wait for the answer that has all of the engine."""
    patient = Patient(tmp_path, sleep=1)
    async with patient.watched() as (watching, own), trio.open_nursery() as nursery:
        assert await watching.become_ready()
        asked = len(patient.sent)
        patient.status_of_canary = 503
        nursery.start_soon(watching.stay_ready)
        patient.leases.add(Lease(own.endpoint, "m"))
        patient.turned.set()
        probes = patient.probes
        while patient.probes < probes + 3:
            await trio.sleep(0.02)
        assert set(patient.sent[asked:]) <= {"GET /metrics"}
        assert patient.status.state is S.READY
        patient.leases.clear()
        patient.turned.set()
        while str(patient.status.state) != "sleeping":
            await trio.sleep(0.02)
        nursery.cancel_scope.cancel()


async def test_a_sleeper_that_does_not_answer_any_more_is_ended(tmp_path: Path) -> None:
    patient = Patient(tmp_path, sleep=1, dead_limit=Seconds(0.3))
    async with patient.watched() as (watching, own), trio.open_nursery() as nursery:
        assert await watching.become_ready()
        stayed = []

        async def stay() -> None:
            stayed.append(await watching.stay_ready())

        nursery.start_soon(stay)
        patient.turned.set()
        while str(patient.status.state) != "sleeping":
            await trio.sleep(0.02)
        patient.answer = ProbeAnswer(ok=False, detail="Connection refused")
    assert stayed == [False]
    assert own.cause is Cause.ENGINE_DEAD
    assert own.gave_up == "its health probe fails while it sleeps: Connection refused"


async def test_one_that_is_taken_over_asleep_sleeps_on(tmp_path: Path) -> None:
    patient = Patient(tmp_path, sleep=1)
    patient.status = replace(patient.status, adopted=True)
    patient.asleep = True
    async with patient.watched() as (watching, _), trio.open_nursery() as nursery:
        ready = []

        async def become() -> None:
            ready.append(await watching.become_ready())

        nursery.start_soon(become)
        while str(patient.status.state) != "sleeping":
            await trio.sleep(0.02)
        patient.turned.set()
    assert ready == [True]
    assert [row.state for row in patient.rows][-3:] == [S.SLEEPING, S.LOADING, S.READY]


async def test_what_another_process_of_ours_has_ready_need_not_show_it(tmp_path: Path) -> None:
    patient = Patient(tmp_path)
    patient.answer, patient.proven = ProbeAnswer(ok=False), 3
    async with patient.watched() as (watching, _):
        assert await watching.become_ready()
    assert (patient.status.state, patient.status.slots, patient.sent) == (S.READY, 3, [])
    assert patient.proven is None  # after a sleep it has to
