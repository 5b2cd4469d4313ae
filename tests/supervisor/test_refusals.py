from dataclasses import replace
from math import inf

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
            refusals.quarantined(replace(ROW, advice="Set a smaller `context`."), inf),
            "model_quarantined",
            "until its operator acts. Set a smaller `context`.",
        ),
        (refusals.quarantined(ROW, 1800), "model_quarantined", "before its operator acts, or 30 min have passed."),
        (refusals.blocked(ROW, 9), "model_blocked", "because"),
        (refusals.ended(ROW, "unloaded"), "draining", "is being stopped (unloaded)"),
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


@pytest.mark.parametrize(("lasts", "hint"), [(0, 5), (20, 20), (7200, 60)])
def test_memory_that_has_been_held_for_long_is_asked_for_again_later(lasts: float, hint: float) -> None:
    assert refusals.blocked(ROW, lasts).retry_after == hint


@pytest.mark.parametrize("state", [S.STOPPED, S.DRAINING, S.STOPPING, S.SLEEPING])
def test_what_does_not_load_says_why(state: ReplicaState) -> None:
    row = replace(ROW, state=state, reason="makes room for x")
    assert "makes room for x, for longer than 30 s" in refusals.too_slow(row, 30, 9).message
