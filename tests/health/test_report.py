from types import MappingProxyType

import pytest

from appliance.domain.status import BackendStatus, ReplicaState, ReplicaStatus
from appliance.domain.targets import Address, Endpoint, Target
from appliance.fleet.table import Fleet
from appliance.health.report import readiness, ready

END = Endpoint(Address("http", "box", 80))
RUNTIME = Target("qwen", "runtime", "qwen", "llama.cpp", "")
BACKEND = Target("box/m", "backend", "box", "vllm", "m", END)


def fleet_of(*rows: ReplicaStatus | BackendStatus) -> Fleet:
    return Fleet(
        MappingProxyType({row.replica: row for row in rows if isinstance(row, ReplicaStatus)}),
        MappingProxyType({row.name: row for row in rows if isinstance(row, BackendStatus)}),
    )


def replica(state: ReplicaState, *, name: str = "qwen-0", healthy: bool = True, owed: bool = False) -> ReplicaStatus:
    return ReplicaStatus("qwen", name, "llama.cpp", state, 0.0, "why", "42 %", healthy=healthy, owed=owed)


@pytest.mark.parametrize("state", ReplicaState)
@pytest.mark.parametrize("owed", [False, True])
def test_every_state_of_a_replica_is_told_and_only_ready_is_ready(state: ReplicaState, owed: bool) -> None:
    report = readiness(fleet_of(replica(state, owed=owed)), {"m": [RUNTIME]})
    is_ready = state is ReplicaState.READY
    trouble = state in (ReplicaState.BACKOFF, ReplicaState.BLOCKED, ReplicaState.QUARANTINED)
    told = {"available": is_ready or not (owed or trouble), "state": state.value, "reason": "why", "progress": "42 %"}
    assert report == {"m": {"ready": is_ready} | told}


def test_a_model_is_available_by_any_of_its_targets_whoever_speaks_for_it() -> None:
    rows = fleet_of(replica(ReplicaState.LOADING, owed=True), replica(ReplicaState.SLEEPING, name="qwen-1"))
    report = readiness(rows, {"m": [RUNTIME]})
    assert (report["m"]["state"], report["m"]["available"]) == ("loading", True)


def test_a_ready_replica_that_fails_its_probe_is_unhealthy() -> None:
    report = readiness(fleet_of(replica(ReplicaState.READY, healthy=False)), {"m": [RUNTIME]})
    assert (report["m"]["ready"], report["m"]["state"]) == (False, "unhealthy")


@pytest.mark.parametrize(("healthy", "state"), [(True, "ready"), (False, "unhealthy"), (None, "unknown")])
def test_a_backend_is_as_its_last_probe_saw_it(healthy: bool | None, state: str) -> None:
    row = BackendStatus("box", "vllm", END, healthy, "words")
    entry = readiness(fleet_of(row), {"m": [BACKEND]})["m"]
    assert (entry["ready"], entry["state"], entry["reason"]) == (healthy is True, state, "words")


def test_the_target_nearest_to_serving_speaks_for_the_model() -> None:
    down = BackendStatus("box", "vllm", END, healthy=False)
    rows = fleet_of(down, replica(ReplicaState.BACKOFF), replica(ReplicaState.LOADING, name="qwen-1"))
    assert readiness(rows, {"m": [BACKEND, RUNTIME]})["m"]["state"] == "loading"
    up = fleet_of(BackendStatus("box", "vllm", END, healthy=True), replica(ReplicaState.LOADING))
    assert readiness(up, {"m": [RUNTIME, BACKEND]})["m"]["ready"] is True


def test_a_runtime_not_started_and_a_model_without_targets_are_stopped() -> None:
    report = readiness(Fleet(), {"a": [RUNTIME], "b": [], "c": [BACKEND]})
    assert {name: entry["state"] for name, entry in report.items()} == {"a": "stopped", "b": "stopped", "c": "stopped"}


def test_a_provider_is_not_asked_and_counts_as_ready() -> None:
    target = Target("openai/x", "provider", "openai", "openai-api", "x", END)
    assert readiness(Fleet(), {"m": [target]})["m"]["ready"] is True


def test_the_same_without_words() -> None:
    fleet = fleet_of(replica(ReplicaState.READY), BackendStatus("box", "vllm", END, healthy=False))
    assert ready(fleet, {"m": [RUNTIME], "b": [BACKEND], "none": []}) == {"m": True, "b": False, "none": False}
