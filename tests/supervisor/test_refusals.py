from dataclasses import replace

import pytest

from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.errors import GatewayError
from appliance.supervisor import refusals

S = ReplicaState
ROW = ReplicaStatus("qwen", "qwen", "vllm", S.LOADING, 0.0, reason="because", stage="compiling", percent=41.6)


def test_the_replica_nearest_to_serving_speaks() -> None:
    rows = [replace(ROW, state=state) for state in (S.QUARANTINED, S.BACKOFF, S.LOADING, S.STOPPED)]
    assert refusals.nearest(rows).state is S.LOADING


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (refusals.draining(ROW), "draining", "shutting down"),
        (refusals.queue_full(ROW, 256, 7), "queue_full", "load_queue"),
        (refusals.crashed(replace(ROW, state=S.BACKOFF), 12), "model_crashed", "12 s"),
        (
            refusals.quarantined(replace(ROW, advice="Set a smaller `context`.")),
            "model_quarantined",
            "smaller `context`",
        ),
        (refusals.blocked(ROW), "model_blocked", "because"),
        (refusals.stopped(ROW), "model_loading", "was stopped"),
        (refusals.too_slow(ROW, 30, 9), "model_loading", "within 30 s"),
        (refusals.too_slow(replace(ROW, state=S.STOPPED), 30, 9), "model_loading", "because, for longer than 30 s"),
    ],
)
def test_each_says_what_happened_and_when_to_come_back(error: GatewayError, code: str, says: str) -> None:
    assert error.code == code
    assert says in error.message
    assert '"qwen"' in error.message or code == "draining"
    assert error.retry_after is not None
    assert 1 <= error.retry_after <= 60
    assert error.row.status == 503
    assert error.extras["stage"] == "compiling"
    assert error.extras["percent"] == "42"
