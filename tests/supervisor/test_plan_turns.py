"""Who goes so that another can come, and who comes next."""

from dataclasses import replace
from typing import Any

import pytest

from appliance.domain.status import ReplicaState
from appliance.supervisor.box import Action
from appliance.supervisor.plan import plan
from tests.supervisor.test_plan import GIB, NOW, actions, gpu, only, view

S = ReplicaState


@pytest.mark.parametrize("facts", [{"busy": 1}, {"asked": 1}])
def test_what_works_finishes_and_then_makes_room(facts: dict[str, Any]) -> None:
    works = view("works", S.READY, gpus=(0,), need=20 * GIB, **facts)
    asks = view("x", asked=1, need=12 * GIB)
    assert only(works, asks, gpus=[gpu(free=4)]) == Action(
        "drain", "works", gpus=(0,), reason="makes room for x", making_room_for="x"
    )
    drains = replace(works, state=S.DRAINING, busy=1, drain_until=NOW + 600, to_sleep=True)
    assert only(drains, asks, gpus=[gpu(free=4)]).reason == "waits for the memory of works on GPU 0"


def test_what_is_only_wanted_does_not_make_those_go_who_work() -> None:
    works = view("works", S.READY, gpus=(0,), need=20 * GIB, busy=1)
    action = only(works, view("x", wanted=True, need=12 * GIB), gpus=[gpu(free=4)])
    assert (action.kind, action.reason) == ("wait", "waits for memory of GPU 0 that works uses")


def test_nobody_who_works_goes_where_the_idle_are_enough() -> None:
    works = view("works", S.READY, gpus=(0,), need=10 * GIB, busy=1, since=1)
    idle = view("idle", S.READY, gpus=(0,), need=10 * GIB, used=900)
    asks = view("x", asked=1, need=12 * GIB)
    assert actions(works, idle, asks, gpus=[gpu(free=4)]) == [("stop", "idle"), ("wait", "x")]
    more = replace(asks, need=16 * GIB)
    done = actions(works, idle, more, gpus=[gpu(free=4)])
    assert done == [("stop", "idle"), ("drain", "works"), ("wait", "x")]


def test_an_idle_one_stays_where_it_is_enough_that_another_finishes() -> None:
    works = view("works", S.READY, gpus=(0,), need=16 * GIB, busy=1)
    idle = view("idle", S.READY, gpus=(0,), need=2 * GIB)
    assert actions(works, idle, view("x", asked=1, need=12 * GIB), gpus=[gpu(free=4)]) == [
        ("drain", "works"),
        ("wait", "x"),
    ]


def test_who_is_asked_for_makes_room_by_sleeping_where_it_can() -> None:
    idle = view("idle", S.READY, gpus=(0,), need=20 * GIB, sleep=True, vllm=True)
    asks = view("x", asked=1, need=12 * GIB)
    assert only(idle, asks, gpus=[gpu(free=4)]).kind == "sleep"
    finished = replace(idle, state=S.DRAINING, drain_until=NOW + 9, to_sleep=True)
    assert only(finished, asks, gpus=[gpu(free=4)]).kind == "sleep"
    assert only(replace(finished, to_sleep=False), asks, gpus=[gpu(free=4)]).kind == "stop"


def test_a_sleeper_goes_when_what_it_has_kept_is_needed() -> None:
    sleeper = view("s", S.SLEEPING, gpus=(0,), need=20 * GIB, sleep=True)
    assert only(sleeper, view("x", asked=1, need=23 * GIB), gpus=[gpu(free=22)]).kind == "stop"
    assert actions(sleeper, view("x", asked=1, need=20 * GIB), gpus=[gpu(free=22)]) == [("start", "x")]


def test_nobody_takes_the_room_that_somebody_before_it_waits_for() -> None:
    going = view("going", S.DRAINING, gpus=(0,), need=10 * GIB, busy=1, drain_until=NOW + 60)
    first = view("first", asked=1, asked_since=1, need=16 * GIB)
    second = view("second", asked=1, asked_since=2, need=10 * GIB)
    told = plan([going, first, second], [gpu(free=12)], NOW).actions
    assert [(action.kind, action.reason) for action in told] == [
        ("wait", "waits for the memory of going on GPU 0"),
        ("wait", "waits for its turn on GPU 0 after first"),
    ]
    assert actions(going, first, replace(second, need=6 * GIB), gpus=[gpu(free=12)]) == [
        ("wait", "first"),
        ("start", "second"),
    ], "what fits beside the first one need not wait"
    assert actions(going, first, view("p", preload=True, need=8 * GIB), gpus=[gpu(free=12)]) == [("wait", "first")]


def test_who_cannot_be_helped_holds_up_nobody() -> None:
    pinned = view("pinned", S.READY, gpus=(0,), need=12 * GIB, pinned=True)
    hopeless = view("hopeless", asked=1, asked_since=1, need=20 * GIB)
    second = view("second", asked=1, asked_since=2, need=10 * GIB)
    assert actions(pinned, hopeless, second, gpus=[gpu(free=12)]) == [("wait", "hopeless"), ("start", "second")]


def test_room_is_made_on_the_gpu_where_that_is_possible() -> None:
    pinned = view("pinned", S.READY, gpus=(0,), need=20 * GIB, pinned=True)
    idle = [view(name, S.READY, gpus=(1,), need=10 * GIB, used=used) for name, used in (("b", 1), ("c", 2))]
    assert only(pinned, *idle, view("x", asked=1, need=12 * GIB), gpus=[gpu(0, 4), gpu(1, 4)]).replica == "b"


def test_one_that_takes_two_gpus_makes_room_on_both() -> None:
    idle = [view(name, S.READY, gpus=(index,), need=20 * GIB) for index, name in enumerate("ab")]
    wide = view("x", asked=1, need=20 * GIB, choices=(0, 1))
    assert actions(*idle, wide, gpus=[gpu(0, 4), gpu(1, 4)]) == [("stop", "a"), ("stop", "b"), ("wait", "x")]
    assert only(idle[1], wide, gpus=[gpu(0), gpu(1, 4)]).replica == "b"
    assert only(idle[1], replace(wide, asked=0, wanted=True), gpus=[gpu(0), gpu(1, 4)]).reason == (
        "waits for memory of GPU 1 that b uses"
    )


def test_the_way_back_after_a_failed_swap_comes_before_another_try() -> None:
    back = view("back", wanted=True, urgent=True, need=20 * GIB)
    again = view("again", S.BACKOFF, asked=5, priority=3, resume_at=NOW, need=20 * GIB)
    assert actions(back, again, gpus=[gpu()]) == [("start", "back"), ("wait", "again")]


def test_in_an_exclusive_group_turns_go_round() -> None:
    young = view("a", S.READY, exclusive="big", busy=1, since=NOW - 10)
    first, second = (view(name, asked=1, asked_since=at, exclusive="big") for at, name in enumerate("bc"))
    told = plan([young, second, first], None, NOW).actions
    assert [(action.replica, action.reason) for action in told] == [
        ("b", "waits for a (exclusive)"),
        ("c", "waits for its turn after b (exclusive)"),
    ]
