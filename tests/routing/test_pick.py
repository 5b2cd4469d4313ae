from dataclasses import replace

import pytest

from appliance.domain.calls import Operation
from appliance.domain.status import BackendStatus, ReplicaState, ReplicaStatus
from appliance.domain.targets import Address, Endpoint, Target
from appliance.errors import GatewayError
from appliance.fleet.table import Fleet
from appliance.routing.catalogue import PublicModel
from appliance.routing.pick import candidates

ENDPOINT = Endpoint(Address("http", "box", 8080))
LOCAL = Target("qwen", "runtime", "qwen", "llama.cpp", "qwen")
TGI = Target("tgi/x", "backend", "tgi", "tgi", "x", ENDPOINT)
VLLM = Target("vllm/x", "backend", "vllm", "vllm", "x", ENDPOINT)
DOWN = BackendStatus("tgi", "tgi", ENDPOINT, healthy=False, reason="connection refused")


def model(*targets: Target, operations: frozenset[Operation] | None = None) -> PublicModel:
    return PublicModel("m", targets, operations, "appliance")


S = ReplicaState


def replica(state: ReplicaState) -> ReplicaStatus:
    return ReplicaStatus("qwen", "qwen-0", "llama.cpp", state, 0.0)


def test_the_order_of_the_config_wins_among_healthy_targets() -> None:
    assert candidates(model(VLLM, TGI), Operation.CHAT, Fleet()) == [VLLM, TGI]


def test_an_unhealthy_backend_is_not_chosen() -> None:
    assert candidates(model(TGI, VLLM), Operation.CHAT, Fleet({}, {"tgi": DOWN})) == [VLLM]


def test_all_unhealthy_is_a_503_that_names_the_reason() -> None:
    with pytest.raises(GatewayError, match="connection refused") as caught:
        candidates(model(TGI), Operation.CHAT, Fleet({}, {"tgi": DOWN}))
    assert caught.value.code == "no_healthy_backend"
    assert caught.value.retry_after


def test_what_an_engine_cannot_do_is_501_even_while_it_is_down() -> None:
    with pytest.raises(GatewayError) as caught:
        candidates(model(TGI), Operation.EMBEDDING, Fleet({}, {"tgi": DOWN}))
    assert caught.value.code == "unsupported"


def test_what_a_backend_was_seen_not_to_do_is_501() -> None:
    row = BackendStatus("vllm", "vllm", ENDPOINT, healthy=True, cannot=frozenset({Operation.EMBEDDING}))
    with pytest.raises(GatewayError) as caught:
        candidates(model(VLLM), Operation.EMBEDDING, Fleet({}, {"vllm": row}))
    assert caught.value.code == "unsupported"


def test_another_kind_of_model_is_422() -> None:
    with pytest.raises(GatewayError) as caught:
        candidates(model(LOCAL, operations=frozenset({Operation.CHAT})), Operation.EMBEDDING, Fleet())
    assert (caught.value.code, caught.value.param) == ("model_category_mismatch", "model")


@pytest.mark.parametrize("state", list(ReplicaState))
def test_a_runtime_is_always_worth_trying_and_a_waiting_one_goes_last(state: ReplicaState) -> None:
    waits = state not in {S.STOPPED, S.READY, S.SLEEPING}
    fleet = Fleet({"qwen-0": replica(state)}, {})
    assert candidates(model(LOCAL, VLLM), Operation.CHAT, fleet) == ([VLLM, LOCAL] if waits else [LOCAL, VLLM])
    assert candidates(model(LOCAL), Operation.CHAT, fleet) == [LOCAL]


def test_an_unhealthy_ready_replica_goes_last() -> None:
    row = replace(replica(ReplicaState.READY), healthy=False)
    assert candidates(model(LOCAL, VLLM), Operation.CHAT, Fleet({"qwen-0": row}, {}))[0] == VLLM
