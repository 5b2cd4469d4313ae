import dataclasses

import pytest

from appliance.domain.calls import Operation
from appliance.domain.status import BackendStatus, ReplicaState, ReplicaStatus
from appliance.domain.targets import Address, Endpoint
from appliance.fleet.table import FleetTable

STOPPED = ReplicaStatus("r", "r-0", "llama.cpp", ReplicaState.STOPPED, 0.0)
READY = dataclasses.replace(STOPPED, state=ReplicaState.READY)
BACKEND = BackendStatus("b", "vllm", Endpoint(Address("http", "h", 80)), healthy=True)


def test_a_snapshot_stays_as_it_was() -> None:
    table = FleetTable()
    table.set_replica(STOPPED)
    before = table.snapshot()
    table.set_replica(READY)
    table.set_backend(BACKEND)
    assert before.replicas == {"r-0": STOPPED}
    assert before.backends == {}
    assert table.snapshot().replicas == {"r-0": READY}


def test_a_snapshot_cannot_be_written() -> None:
    with pytest.raises(TypeError):
        FleetTable().snapshot().replicas["x"] = STOPPED  # type: ignore[index]


def test_watchers_see_the_row_before_and_after() -> None:
    table, seen = FleetTable(), []
    table.watch_replicas(lambda before, after: seen.append((before, after)))
    table.set_replica(STOPPED)
    table.set_replica(READY)
    assert seen == [(None, STOPPED), (STOPPED, READY)]


def test_replicas_are_found_by_their_runtime() -> None:
    table = FleetTable()
    other = dataclasses.replace(STOPPED, runtime="s", replica="s-0")
    table.set_replica(STOPPED)
    table.set_replica(other)
    assert table.snapshot().of_runtime("s") == [other]
    assert table.snapshot().of_runtime("none") == []


def test_what_a_backend_cannot_do_is_remembered_over_probes() -> None:
    table = FleetTable()
    table.set_backend(BACKEND)
    table.learn_cannot("b", Operation.EMBEDDING)
    table.set_backend(dataclasses.replace(BACKEND, healthy=False))
    row = table.snapshot().backends["b"]
    assert row.cannot == {Operation.EMBEDDING}
    assert row.healthy is False
