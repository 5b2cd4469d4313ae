import dataclasses

import pytest

from appliance.domain.status import BackendStatus, ReplicaState, ReplicaStatus
from appliance.domain.targets import Address, Endpoint


def test_a_state_is_its_label() -> None:
    assert [str(state) for state in ReplicaState] == [
        "stopped",
        "starting",
        "loading",
        "ready",
        "draining",
        "stopping",
        "backoff",
        "quarantined",
        "blocked",
        "sleeping",
    ]


def test_a_row_is_replaced_and_never_changed() -> None:
    row = ReplicaStatus("r", "r-0", "llama.cpp", ReplicaState.STOPPED, 0.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.pid = 5  # type: ignore[misc]
    assert dataclasses.replace(row, pid=5).pid == 5


def test_a_backend_is_neither_up_nor_down_before_its_first_probe() -> None:
    assert BackendStatus("b", "vllm", Endpoint(Address("http", "h", 80))).healthy is None
