import os
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from appliance.domain.status import Footprint, Measure, ReplicaState, ReplicaStatus
from appliance.observe.maker import Maker
from appliance.observe.process import started
from appliance.observe.replica_metrics import ReplicaMetrics

S = ReplicaState
ROW = ReplicaStatus("r", "r@1", "vllm", S.STOPPED, 0.0)
WHO = {"runtime": "r", "replica": "r@1"}


class Box:
    """A fleet table with one replica, and the metrics that watch it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = ReplicaMetrics(Maker(self.registry))
        self.row: ReplicaStatus | None = None

    def write(self, state: ReplicaState, since: float = 0.0, **facts: object) -> None:
        before = self.row
        self.row = replace(before or ROW, state=state, since=since, **facts)  # type: ignore[arg-type]  # named facts
        self.metrics.changed(before, self.row)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"appliance_{name}", labels)


@pytest.fixture
def box() -> Box:
    return Box()


def test_a_replica_says_what_it_runs_and_is_in_one_state(box: Box) -> None:
    box.write(S.STOPPED)
    box.write(S.STARTING, memory=5)
    assert box.value("replica_info", **WHO, engine="vllm", gpus="") == 1
    assert {state: box.value("replica_state", **WHO, state=state) for state in S} == {
        s: float(s is S.STARTING) for s in S
    }
    assert box.value("replica_gpu_memory_bytes", **WHO) == 5


def test_a_replica_that_moves_is_told_with_the_gpus_that_it_has_now(box: Box) -> None:
    box.write(S.READY, gpus=(0, 1))
    assert box.value("replica_info", **WHO, engine="vllm", gpus="0,1") == 1
    box.write(S.READY, gpus=(2,))
    assert box.value("replica_info", **WHO, engine="vllm", gpus="0,1") is None
    assert box.value("replica_info", **WHO, engine="vllm", gpus="2") == 1


def test_it_is_told_since_when_its_process_runs_whoever_started_it(box: Box) -> None:
    box.write(S.STOPPED)
    assert box.value("replica_start_time_seconds", **WHO) is None
    box.write(S.READY, pid=os.getpid(), adopted=True)
    assert abs((box.value("replica_start_time_seconds", **WHO) or 0) - (started(os.getpid()) or 0)) < 2
    box.write(S.BACKOFF, pid=None)
    assert box.value("replica_start_time_seconds", **WHO) is None


def test_failed_probes_are_counted(box: Box) -> None:
    box.write(S.READY)
    assert box.value("replica_probe_failures_total", **WHO) == 0
    box.metrics.probe_missed(ROW)
    assert box.value("replica_probe_failures_total", **WHO) == 1


def test_a_sleeper_holds_what_it_is_seen_to_hold_then(box: Box) -> None:
    box.write(S.READY, pid=7)
    box.metrics.weighed(ROW, Footprint(1.0, 2, 3, {0: 500}))
    box.write(S.SLEEPING)
    assert box.value("replica_gpu_memory_used_bytes", **WHO, gpu="0") is None
    box.metrics.weighed(ROW, Footprint(1.0, 2, 3, {0: 20}))
    box.write(S.SLEEPING, healthy=False)
    assert box.value("replica_gpu_memory_used_bytes", **WHO, gpu="0") == 20


def test_memory_of_gpus_is_told_as_it_is_held_now(box: Box) -> None:
    box.write(S.READY, pid=7)
    box.metrics.weighed(ROW, Footprint(1.0, 2, 3, {0: 500, 1: 700}))
    box.metrics.weighed(ROW, Footprint(1.0, 2, 3, {1: 800}))
    assert box.value("replica_gpu_memory_used_bytes", **WHO, gpu="0") is None
    assert box.value("replica_gpu_memory_used_bytes", **WHO, gpu="1") == 800
    box.write(S.BACKOFF, pid=None)
    assert box.value("replica_gpu_memory_used_bytes", **WHO, gpu="1") is None


def test_what_may_rise_is_there_before_it_does(box: Box) -> None:
    box.write(S.STOPPED)
    assert box.value("replica_restarts_total", **WHO, reason="crash") == 0
    assert box.value("replica_swaps_total", **WHO) == 0
    assert box.value("replica_starts_total", **WHO) == 0


def test_ends_that_nobody_asked_for_are_counted_once_each_by_cause(box: Box) -> None:
    box.write(S.BACKOFF, restarts=1)
    box.write(S.BACKOFF)
    box.write(S.BACKOFF, restarts=2, cause="oom")
    assert box.value("replica_restarts_total", **WHO, reason="crash") == 1
    assert box.value("replica_restarts_total", **WHO, reason="oom") == 1


def test_loading_is_timed_from_the_start_of_the_process(box: Box) -> None:
    box.write(S.STOPPED)
    box.write(S.STARTING, 10.0, starts=1)
    box.write(S.LOADING, 11.0)
    box.write(S.LOADING, 11.0, progress="45 %")
    box.write(S.READY, 17.0)
    assert box.value("replica_load_seconds_sum", runtime="r", kind="cold") == 7.0
    assert box.value("replica_starts_total", **WHO) == 1


def test_waking_up_is_another_thing_than_a_start(box: Box) -> None:
    box.write(S.READY)
    box.write(S.SLEEPING, 5.0)
    box.write(S.LOADING, 10.0)
    box.write(S.READY, 12.0)
    assert box.value("replica_load_seconds_sum", runtime="r", kind="wake") == 2.0
    assert box.value("replica_load_seconds_sum", runtime="r", kind="cold") is None


def test_what_was_taken_over_or_failed_was_no_load(box: Box) -> None:
    box.write(S.STARTING, 1.0, adopted=True)
    box.write(S.READY, 2.0)
    box.write(S.BACKOFF, 3.0, adopted=False)
    box.write(S.STARTING, 4.0)
    box.write(S.BACKOFF, 5.0)
    box.write(S.STARTING, 10.0)
    box.write(S.READY, 11.0)
    assert box.value("replica_load_seconds_count", runtime="r", kind="cold") == 1
    assert box.value("replica_load_seconds_sum", runtime="r", kind="cold") == 1.0


def test_who_makes_room_is_counted(box: Box) -> None:
    box.metrics.made_room(ROW)
    assert box.value("replica_swaps_total", **WHO) == 1


@pytest.mark.parametrize(
    ("state", "pid", "there"), [(S.READY, 7, True), (S.SLEEPING, 7, False), (S.BACKOFF, None, False)]
)
def test_an_engines_own_numbers_are_there_while_it_works(box: Box, state: S, pid: int | None, *, there: bool) -> None:
    box.write(S.READY, pid=7)
    box.metrics.engine_told(ROW, {Measure.RUNNING: 1.0}, 0.1)
    box.write(state, pid=pid)
    assert (box.value("engine_requests_running", **WHO) is not None) is there


def test_what_its_processes_use_is_there_while_there_are_some(box: Box) -> None:
    box.write(S.READY, pid=7)
    box.metrics.weighed(ROW, Footprint(12.5, 2**30, 3))
    assert box.value("replica_cpu_seconds_total", **WHO) == 12.5
    assert box.value("replica_resident_bytes", **WHO) == 2**30
    assert box.value("replica_processes", **WHO) == 3
    box.write(S.BACKOFF, pid=None)
    assert box.value("replica_cpu_seconds_total", **WHO) is None


def test_of_a_replica_that_is_no_more_nothing_is_left(box: Box) -> None:
    box.write(S.READY, pid=7)
    box.metrics.made_room(ROW)
    box.metrics.weighed(ROW, Footprint(1.0, 2, 3))
    box.metrics.engine_told(ROW, {Measure.RUNNING: 1.0}, 0.1)
    box.metrics.dropped("r@1")
    assert [sample for family in box.registry.collect() for sample in family.samples] == []


def test_how_long_a_runtime_took_to_load_stays_as_long_as_it_has_a_replica(box: Box) -> None:
    box.write(S.STARTING, since=1.0)
    box.write(S.READY, since=3.0)
    other = replace(ROW, replica="r@2")
    box.metrics.changed(None, other)
    box.metrics.dropped("r@1")
    assert box.value("replica_load_seconds_count", runtime="r", kind="cold") == 1
    box.metrics.dropped("r@2")
    assert box.value("replica_load_seconds_count", runtime="r", kind="cold") is None
