from dataclasses import replace
from math import inf
from typing import Any

import pytest

from appliance.domain.gpus import Gpu, Holder
from appliance.domain.status import ReplicaState
from appliance.supervisor.box import Action, View
from appliance.supervisor.plan import FORGOTTEN, plan

S = ReplicaState
GIB = 2**30
NOW = 1000.0


def view(name: str = "a", state: ReplicaState = S.STOPPED, **facts: Any) -> View:
    return View(name, facts.pop("runtime", name), state, facts.pop("since", 0.0), **facts)


def gpu(index: int = 0, free: float = 24, **facts: Any) -> Gpu:
    total = 24 * GIB
    return Gpu(index, f"GPU-{index}", "RTX", total, total - int(free * GIB), int(free * GIB), **facts)


def actions(*views: View, gpus: list[Gpu] | None = None, now: float = NOW) -> list[tuple[str, str]]:
    return [(action.kind, action.replica) for action in plan(views, gpus, now).actions]


def only(*views: View, gpus: list[Gpu] | None = None) -> Action:
    """The one action; beside it somebody may wait for what comes of it."""
    done = plan(views, gpus, NOW).actions
    (action,) = [one for one in done if one.kind != "wait"] or done
    return action


def test_nobody_wants_anything() -> None:
    assert actions(view(), view("b", S.READY)) == []


@pytest.mark.parametrize("facts", [{"wanted": True}, {"asked": 3}])
def test_what_is_wanted_or_asked_for_starts(facts: dict[str, Any]) -> None:
    assert actions(view(**facts)) == [("start", "a")]


@pytest.mark.parametrize("state", [S.STARTING, S.LOADING, S.READY, S.STOPPING, S.QUARANTINED])
def test_what_runs_or_is_in_quarantine_is_not_started(state: ReplicaState) -> None:
    assert actions(view(state=state, wanted=True, asked=1, resume_at=inf)) == []


def test_a_quarantine_that_time_may_end_ends_with_its_time_and_the_others_do_not() -> None:
    made = plan([view(state=S.QUARANTINED, resume_at=NOW + 9)], None, NOW)
    assert (made.actions, made.look_again) == ([], NOW + 9)
    assert actions(view(state=S.QUARANTINED, resume_at=NOW)) == [("reset", "a")]
    made = plan([view(state=S.QUARANTINED, resume_at=inf)], None, NOW)
    assert (made.actions, made.look_again) == ([], None)


def test_what_failed_and_is_needed_no_more_is_stopped_after_its_pause() -> None:
    assert plan([view(state=S.BACKOFF, resume_at=NOW + 8)], None, NOW).look_again == NOW + 8
    assert actions(view(state=S.BACKOFF, resume_at=NOW)) == [("reset", "a")]
    assert actions(view(state=S.BACKOFF, resume_at=NOW, dying=True)) == []


def test_what_others_keep_out_is_looked_at_every_second_and_forgotten_after_a_while() -> None:
    out = view(state=S.BLOCKED, since=NOW - FORGOTTEN + 5, need=20 * GIB)
    held = [gpu(free=2, holders=(Holder(7, "ann", "train.py", 22 * GIB),))]
    made = plan([out], held, NOW)
    assert ([action.kind for action in made.actions], made.look_again) == (["block"], NOW + 1)
    assert plan([replace(out, choices=(4,))], held, NOW).look_again == NOW + 1, "a GPU may come back, too"
    assert actions(out, gpus=held, now=NOW + 5) == [("reset", "a")]
    for needed in ({"wanted": True}, {"asked": 1}):
        assert actions(replace(out, **needed), gpus=held, now=NOW + 5) == [("block", "a")]


def test_a_pause_is_waited_for_and_its_end_is_known() -> None:
    made = plan([view(state=S.BACKOFF, wanted=True, resume_at=NOW + 8)], None, NOW)
    assert (made.actions, made.look_again) == ([], NOW + 8)
    assert actions(view(state=S.BACKOFF, wanted=True, resume_at=NOW)) == [("start", "a")]


def test_nothing_starts_while_its_last_tree_may_be_there() -> None:
    assert actions(view(state=S.BACKOFF, wanted=True, dying=True)) == []


def test_idle_for_long_enough_is_stopped_or_put_to_sleep() -> None:
    idle = view(state=S.READY, idle_stop=60, used=NOW - 60)
    assert actions(idle) == [("stop", "a")]
    assert actions(replace(idle, sleep=True)) == [("sleep", "a")]
    assert plan([replace(idle, used=NOW - 50)], None, NOW).look_again == NOW + 10
    assert actions(replace(idle, busy=1)) == []
    assert actions(replace(idle, asked=1)) == []


def test_what_drains_is_stopped_when_it_is_idle() -> None:
    drains = view(state=S.DRAINING, busy=1, drain_until=NOW + 5)
    assert plan([drains], None, NOW).look_again == NOW + 5
    assert actions(drains) == []
    assert actions(replace(drains, busy=0)) == [("stop", "a")]


def test_what_drains_for_too_long_is_stopped() -> None:
    action = only(view(state=S.DRAINING, busy=3, drain_until=NOW))
    assert (action.kind, action.reason) == ("stop", "its last requests took too long")


def test_what_is_on_its_way_to_sleep_is_left_alone() -> None:
    assert actions(view(state=S.DRAINING)) == []


def test_a_sleeper_wakes_for_a_request_only() -> None:
    asleep = view(state=S.SLEEPING, wanted=True)
    assert actions(asleep) == []
    assert actions(replace(asleep, asked=1)) == [("wake", "a")]


def test_without_gpus_several_may_load_at_once_but_one_vllm() -> None:
    assert actions(view(wanted=True), view("b", wanted=True)) == [("start", "a"), ("start", "b")]
    both = [view(wanted=True, vllm=True), view("b", wanted=True, vllm=True)]
    assert actions(*both) == [("start", "a"), ("wait", "b")]


def test_one_load_at_a_time_on_a_gpu() -> None:
    loading = view(state=S.LOADING, gpus=(0,), need=4 * GIB)
    other = view("b", wanted=True, choices=(0,), need=4 * GIB)
    assert only(loading, other, gpus=[gpu(free=20)]) == Action("wait", "b", reason="waits for a to load")
    assert actions(loading, replace(other, choices=(1,)), gpus=[gpu(), gpu(1)]) == [("start", "b")]


def test_the_emptiest_gpu_is_chosen() -> None:
    assert only(view(wanted=True, need=GIB), gpus=[gpu(0, 5), gpu(1, 9)]).gpus == (1,)
    assert only(view(wanted=True, need=GIB, width=2), gpus=[gpu(0, 5), gpu(1, 9), gpu(2, 7)]).gpus == (1, 2)
    assert only(view(wanted=True, need=GIB, choices=(0,)), gpus=[gpu(0, 5), gpu(1, 9)]).gpus == (0,)


def test_who_is_asked_for_comes_first_then_priority_then_who_waits_longest() -> None:
    views = [
        view("wanted", wanted=True, priority=9, need=GIB),
        view("late", asked=1, asked_since=20, need=GIB),
        view("early", asked=1, asked_since=10, need=GIB),
        view("important", asked=1, asked_since=30, priority=1, need=GIB),
    ]
    order = [action.replica for action in plan(views, [gpu()], NOW).actions]
    assert order == ["important", "early", "late", "wanted"]
    assert [action.kind for action in plan(views, [gpu()], NOW).actions].count("start") == 1


def test_the_least_recently_used_makes_room() -> None:
    old = view("old", S.READY, gpus=(0,), need=10 * GIB, used=100)
    new = view("new", S.READY, gpus=(0,), need=10 * GIB, used=900)
    wants = view("x", asked=1, need=12 * GIB)
    assert only(old, new, wants, gpus=[gpu(free=4)]) == Action(
        "stop", "old", gpus=(0,), reason="makes room for x", making_room_for="x"
    )


@pytest.mark.parametrize("facts", [{"pinned": True}, {"priority": 1}, {"since": NOW - 10, "used": NOW - 10}])
@pytest.mark.parametrize("busy", [0, 2])
def test_who_makes_no_room(facts: dict[str, Any], busy: int) -> None:
    stays = view("stays", S.READY, gpus=(0,), need=20 * GIB, busy=busy, **facts)
    action = only(stays, view("x", asked=1, need=12 * GIB), gpus=[gpu(free=4)])
    assert (action.kind, action.reason) == ("wait", "waits for memory of GPU 0 that stays uses")


def test_what_is_short_by_a_little_does_not_look_as_if_it_fitted() -> None:
    holder = Holder(7, "ann", "train.py", 20 * GIB)
    action = only(view("x", asked=1, need=12 * GIB), gpus=[gpu(free=11.99, holders=(holder,))])
    assert "it needs 12.000 GiB of GPU memory, and GPU 0 has 11.990 GiB free" in action.reason


def test_the_reason_names_the_gpu_that_is_short() -> None:
    wide = view("x", asked=1, need=20 * GIB, choices=(0, 1))
    holder = Holder(7, "ann", "train.py", 20 * GIB)
    action = only(wide, gpus=[gpu(0), gpu(1, 4, holders=(holder,))])
    assert action.reason == (
        "it needs 20.0 GiB of GPU memory, and GPU 1 has 4.0 GiB free; held by pid 7 (ann, train.py, 20.0 GiB)"
    )


def test_of_two_boot_models_the_second_waits_for_the_load_of_the_first_and_then_for_its_memory() -> None:
    first, second = view("a", S.LOADING, gpus=(0,), need=8 * GIB), view("b", wanted=True, need=8 * GIB)
    assert only(first, second, gpus=[gpu(free=20)]).reason == "waits for a to load"
    both = replace(first, need=20 * GIB)
    assert only(both, second, gpus=[gpu(free=24)]).reason == "waits for memory of GPU 0 that a uses"


def test_replicas_of_one_runtime_do_not_make_each_other_go() -> None:
    one = view("m@1", S.READY, runtime="m", gpus=(0,), need=20 * GIB)
    other = view("m@2", runtime="m", urgent=True, wanted=True, need=20 * GIB)
    assert actions(one, other, gpus=[gpu(free=4)]) == [("wait", "m@2")]


def test_a_young_model_makes_room_when_it_has_stayed_long_enough() -> None:
    young = view("young", S.READY, gpus=(0,), need=20 * GIB, since=NOW - 10)
    made = plan([young, view("x", asked=1, need=12 * GIB)], [gpu(free=4)], NOW, residence=30)
    assert made.look_again == NOW + 20


def test_room_that_is_being_made_is_waited_for() -> None:
    going = view("going", S.STOPPING, gpus=(0,), need=20 * GIB)
    wants = view("x", asked=1, need=12 * GIB)
    assert only(going, wants, gpus=[gpu(free=4)]).reason == "waits for the memory of going on GPU 0"


def test_memory_that_others_hold_is_named() -> None:
    holder = Holder(4711, "bob", "python train.py", 20 * GIB)
    action = only(view(asked=1, need=12 * GIB), gpus=[gpu(free=4, holders=(holder,))])
    assert action.kind == "block"
    assert "12.0 GiB" in action.reason
    assert "pid 4711 (bob, python train.py, 20.0 GiB)" in action.reason


def test_what_can_never_fit_says_so() -> None:
    assert "can never fit" in only(view(asked=1, need=48 * GIB), gpus=[gpu()]).reason


@pytest.mark.parametrize(
    "other",
    [
        view("b", S.LOADING, gpus=(0,), need=8 * GIB),
        view("b", S.READY, gpus=(0,), need=8 * GIB, since=NOW, exclusive="g"),
        view("b", S.STOPPING, gpus=(0,), need=8 * GIB),
        view("b", S.BACKOFF, gpus=(0,), need=8 * GIB, dying=True),
    ],
)
@pytest.mark.parametrize("free", [0, 16, 24])
def test_and_says_nothing_else_whatever_happens_beside_it(other: View, free: int) -> None:
    """It waits for nobody, and nobody goes for it: else every move of another one would be told of it too."""
    hopeless = view("a", S.BLOCKED, asked=1, need=48 * GIB, exclusive="g")
    for rising in (0, 8 * GIB, 40 * GIB):
        action = only(other, hopeless, gpus=[gpu(free=free, rising=rising)])
        assert (action.kind, action.replica, action.hopeless) == ("block", "a", True)
        assert "can never fit" in action.reason


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (gpu(fault="Xid 79: it has fallen off the bus"), "GPU 0: Xid 79: it has fallen off the bus"),
        (gpu(known=False), "GPU 0 does not answer"),
        (gpu(1), "there is no GPU 0"),
    ],
)
def test_a_bad_gpu_gets_nothing(bad: Gpu, reason: str) -> None:
    action = only(view(asked=1, need=GIB, choices=(0,)), gpus=[bad])
    assert (action.kind, action.reason) == ("block", reason)


def test_a_runtime_without_gpus_needs_none() -> None:
    assert only(view(wanted=True, choices=(), need=GIB), gpus=[gpu(free=0)]).kind == "start"


def test_unknown_memory_wants_a_gpu_for_itself() -> None:
    there = view("there", S.READY, gpus=(0,), need=GIB)
    assert only(there, view("x", asked=1), gpus=[gpu(), gpu(1)]).gpus == (1,)
    assert only(there, view("x", asked=1), gpus=[gpu()]) == Action(
        "stop", "there", gpus=(0,), reason="makes room for x", making_room_for="x"
    )


def test_of_an_exclusive_group_one_is_loaded() -> None:
    loaded = view("a", S.READY, exclusive="big")
    other = view("b", asked=1, exclusive="big")
    assert actions(loaded, other) == [("stop", "a"), ("wait", "b")]
    assert actions(replace(loaded, busy=1), other) == [("drain", "a"), ("wait", "b")]
    assert actions(replace(loaded, busy=1, since=NOW - 10), other) == [("wait", "b")]
    assert actions(replace(loaded, state=S.STOPPING), other) == [("wait", "b")]
    assert plan([replace(loaded, state=S.STOPPING), other], None, NOW).actions[0].reason == "waits for a (exclusive)"
    assert actions(view("a", wanted=True, exclusive="big"), view("b", wanted=True, exclusive="big")) == [
        ("start", "a"),
        ("wait", "b"),
    ]


def test_replicas_of_one_runtime_are_no_rivals() -> None:
    one = view("m@1", S.READY, runtime="m", exclusive="big")
    assert actions(one, view("m@2", runtime="m", wanted=True, exclusive="big")) == [("start", "m@2")]


def test_preload_takes_room_and_makes_none() -> None:
    wants = view("x", preload=True, need=12 * GIB)
    assert actions(wants, gpus=[gpu()]) == [("start", "x")]
    assert actions(wants, view("y", S.READY, gpus=(0,), need=20 * GIB), gpus=[gpu(free=4)]) == []
    assert actions(wants, view("y", S.LOADING, gpus=(0,), need=GIB), gpus=[gpu()]) == []
    assert actions(wants) == [("start", "x")]


def test_what_is_only_wanted_makes_nobody_go() -> None:
    loaded = view("a", S.READY, exclusive="big")
    wanted = view("b", wanted=True, exclusive="big")
    assert actions(loaded, wanted) == [("wait", "b")]
    assert actions(loaded, replace(wanted, urgent=True)) == [("stop", "a"), ("wait", "b")]


def test_what_nobody_asks_for_rests_once_a_request_would_bring_it() -> None:
    loaded, wanted = view("a", S.READY, exclusive="big"), view("b", wanted=True, exclusive="big")
    assert only(loaded, wanted).rests
    assert only(replace(loaded, since=NOW - 1), wanted).rests, "later, and yet it comes"
    assert not only(replace(loaded, pinned=True), wanted).rests
    assert not only(replace(loaded, state=S.LOADING), wanted).rests, "it is not known yet what a has room for"
    assert not any(action.rests for action in plan([loaded, replace(wanted, asked=1)], None, NOW).actions)
    large = view("a", S.READY, gpus=(0,), need=20 * GIB)
    other = view("b", wanted=True, need=14 * GIB)
    assert only(large, other, gpus=[gpu(free=4)]).rests
    assert not only(replace(large, priority=1), other, gpus=[gpu(free=4)]).rests


def test_replicas_share_the_gpus_that_their_runtime_names() -> None:
    two = [view(f"m@{number}", runtime="m", wanted=True, among=(1, 2), need=8 * GIB) for number in (1, 2)]
    box = [gpu(0), gpu(1), gpu(2)]
    first = plan(two, box, NOW).actions[0]
    assert (first.kind, first.gpus) == ("start", (1,))
    running = replace(two[0], state=S.READY, gpus=(1,))
    (second,) = plan([running, two[1]], [gpu(0), gpu(1, free=16), gpu(2)], NOW).actions
    assert (second.kind, second.gpus) == ("start", (2,))


def test_gpus_that_the_settings_name_and_that_are_not_there() -> None:
    action = only(view(wanted=True, among=(5,), need=GIB), gpus=[gpu(0)])
    assert (action.kind, action.reason) == ("block", "there is no GPU 5")


@pytest.mark.parametrize("state", [S.STARTING, S.LOADING, S.READY, S.SLEEPING])
def test_what_runs_on_a_gpu_with_a_fault_has_to_end(state: ReplicaState) -> None:
    broken = gpu(1, fault="it has fallen off the bus (Xid 79)")
    action = only(view(state=state, gpus=(1,)), gpus=[gpu(0), broken])
    assert (action.kind, action.reason) == ("condemn", "GPU 1: it has fallen off the bus (Xid 79)")
    assert actions(view(state=state, gpus=(0,)), gpus=[gpu(0), broken]) == []


def test_memory_that_nobody_holds_any_more_is_waited_for_and_what_others_hold_blocks() -> None:
    asked = view(asked=1, need=20 * GIB)
    lagging = only(asked, gpus=[gpu(free=4)])
    assert lagging.kind == "wait"
    assert "has not given all of it back yet" in lagging.reason
    held = only(asked, gpus=[gpu(free=4, holders=(Holder(7, "ann", "train.py", 20 * GIB),))])
    assert held.kind == "block"
    assert "pid 7 (ann, train.py, 20.0 GiB)" in held.reason
    assert only(view(asked=1, need=99 * GIB), gpus=[gpu(free=4)]).kind == "block"


def test_what_was_refused_for_want_of_memory_starts_as_soon_as_there_is_some() -> None:
    refused = view(state=S.BLOCKED, since=NOW - 9, need=20 * GIB)
    assert actions(refused, gpus=[gpu(free=24)]) == [("start", "a")]
    assert actions(refused, gpus=[gpu(free=4, holders=(Holder(7, "ann", "x", 20 * GIB),))]) == [("block", "a")]
    idle = view("b", S.READY, gpus=(0,), need=20 * GIB)
    assert actions(refused, idle, gpus=[gpu(free=4)]) == [("wait", "a")]  # nobody has to go for it


def test_memory_that_has_just_become_free_is_no_reason_to_stop_another() -> None:
    idle, asked = view("b", S.READY, gpus=(0,), need=4 * GIB), view(asked=1, need=16 * GIB)
    action = only(idle, asked, gpus=[gpu(free=4, rising=16 * GIB)])
    assert (action.kind, action.reason) == ("wait", "waits for free memory on GPU 0 to be seen twice")
    assert actions(idle, asked, gpus=[gpu(free=20)]) == [("start", "a")]
    assert actions(idle, asked, gpus=[gpu(free=14, rising=GIB)]) == [("stop", "b"), ("wait", "a")]


def test_an_order_wakes_a_sleeper() -> None:
    asleep = view(state=S.SLEEPING, wanted=True)
    assert actions(asleep) == []
    assert actions(replace(asleep, urgent=True)) == [("wake", "a")]


def test_what_is_preloaded_is_not_stopped_for_being_idle_but_may_sleep() -> None:
    idle = view(state=S.READY, preload=True, idle_stop=60, used=NOW - 60)
    assert actions(idle) == []
    assert actions(replace(idle, sleep=True)) == [("sleep", "a")]


def test_what_has_just_become_ready_has_its_memory_before_that_is_seen() -> None:
    fresh = view(state=S.READY, since=NOW - 0.1, grew=NOW - 0.1, gpus=(0,), need=20 * GIB)
    other = view("b", wanted=True, need=8 * GIB)
    done = plan([fresh, other], [gpu(free=24)], NOW, seen=NOW - 0.2).actions
    waits = "waits for the memory of a on GPU 0 to be seen"
    assert [(action.kind, action.reason) for action in done] == [("wait", waits)]
    asked = replace(other, wanted=False, asked=1, need=20 * GIB)
    old = view("old", S.READY, gpus=(0,), need=12 * GIB)
    seen_already = plan([replace(fresh, need=4 * GIB), old, asked], [gpu(free=8)], NOW, residence=0, seen=NOW - 0.2)
    assert [action.kind for action in seen_already.actions] == ["wait"], "nobody goes on a guess"
    small = replace(fresh, need=4 * GIB)
    done = plan([small, other], [gpu(free=24)], NOW, seen=NOW - 0.2).actions
    assert [(action.kind, action.reason) for action in done] == [("wait", "waits for a to load")]
    assert plan([small, other], [gpu(free=20)], NOW, seen=NOW).actions[0].kind == "start"
