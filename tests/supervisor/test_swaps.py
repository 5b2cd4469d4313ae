from dataclasses import replace

import pytest

from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.supervisor.swaps import Swaps

S = ReplicaState
ROW = ReplicaStatus("new", "new", "vllm", S.STARTING, 0.0)


def swaps() -> Swaps:
    made = Swaps()
    made.begin("new", "old")
    made.begin("new", "older")
    return made


@pytest.mark.parametrize("state", [S.BACKOFF, S.QUARANTINED])
def test_those_who_made_room_get_it_back_once_when_it_was_in_vain(state: ReplicaState) -> None:
    under_way = swaps()
    assert under_way.settle(ROW) == []
    assert under_way.settle(replace(ROW, state=state, pid=7)) == [], "its process is not gone yet"
    assert under_way.settle(replace(ROW, state=state)) == ["old", "older"]
    assert under_way.settle(replace(ROW, state=state)) == []


def test_a_swap_is_news_once() -> None:
    made = Swaps()
    assert [made.begin("new", "old"), made.begin("new", "old"), made.begin("other", "old")] == [True, False, True]


def test_a_swap_that_worked_is_forgotten() -> None:
    under_way = swaps()
    assert under_way.settle(replace(ROW, state=S.READY)) == []
    assert under_way.settle(replace(ROW, state=S.BACKOFF)) == []
