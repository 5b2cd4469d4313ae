from dataclasses import replace

import pytest

from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.supervisor.box import View
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


OLD, OLDER = View("old", "old", S.STOPPED, 0.0), View("older", "older", S.SLEEPING, 0.0)


@pytest.mark.parametrize(
    ("state", "asked", "comes"),
    [
        (S.STOPPED, 0, False),
        (S.BLOCKED, 0, False),
        (S.SLEEPING, 0, False),
        (S.STOPPED, 1, True),
        (S.SLEEPING, 1, True),
        (S.LOADING, 0, True),
        (S.STOPPING, 0, True),  # not known yet: its memory is not free
    ],
)
def test_what_nobody_wants_any_more_before_it_is_ready_gives_the_room_back_once(
    state: ReplicaState, asked: int, comes: bool
) -> None:
    under_way = swaps()
    views = {view.name: view for view in (View("new", "new", state, 0.0, asked=asked), OLD, OLDER)}
    assert under_way.forsaken(views) == ({} if comes else {"new": ["old", "older"]})
    assert under_way.forsaken(views) == {}


def test_what_a_reload_has_removed_gives_the_room_back() -> None:
    assert swaps().forsaken({"old": OLD}) == {"new": ["old", "older"]}


def test_nobody_gets_the_room_back_before_all_are_gone_or_while_it_is_only_restarted() -> None:
    under_way = swaps()
    new = View("new", "new", S.STOPPED, 0.0)
    assert under_way.forsaken({"new": new, "old": replace(OLD, state=S.DRAINING)}) == {}
    assert under_way.forsaken({"new": new, "old": OLD}, {"new"}) == {}
    assert under_way.forsaken({"new": new, "old": OLD}) == {"new": ["old", "older"]}
