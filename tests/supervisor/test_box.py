from typing import Any

import pytest

from appliance.domain.gpus import Gpu
from appliance.domain.status import ReplicaState
from appliance.supervisor.box import Box, Claim, Plan, View

S = ReplicaState
GPU = Gpu(0, "GPU-0", "RTX", 24, 4, 20)


def view(name: str, state: ReplicaState, **facts: Any) -> View:
    return View(name, name, state, 0.0, gpus=(0,), **facts)


def box(*views: View) -> Box:
    return Box({one.name: one for one in views}, [GPU], 100.0, 30.0)


def test_an_action_is_seen_by_the_next_decision() -> None:
    there = box(view("a", S.READY), view("b", S.STOPPED))
    there.do("stop", there.views["a"], reason="idle")
    assert there.views["a"].going
    there.do("wait", there.views["b"])
    assert there.views["b"].state is S.STOPPED
    assert [(action.kind, action.replica) for action in there.made.actions] == [("stop", "a"), ("wait", "b")]


def test_what_loads_has_been_promised_its_memory_and_what_runs_has_it() -> None:
    there = box(view("a", S.LOADING, need=5), view("b", S.READY, need=7), view("c", S.STOPPED, need=9))
    assert there.free(GPU) == 15
    there.do("start", there.views["c"])
    assert there.free(GPU) == 6


def test_what_starts_takes_of_what_a_claim_has_left() -> None:
    there = box(view("a", S.STOPPED, need=5))
    assert there.claim(GPU).left == float("inf")
    there.claims[0] = Claim(8, "first")
    there.do("start", there.views["a"])
    assert there.claim(GPU) == Claim(3, "first")


@pytest.mark.parametrize("state", list(ReplicaState))
def test_who_may_have_a_process_is_loaded(state: ReplicaState) -> None:
    nobody = state in {S.STOPPED, S.BACKOFF, S.QUARANTINED, S.BLOCKED}
    assert view("a", state).loaded is not nobody
    assert view("a", state, dying=True).loaded
    assert list(box(view("a", state)).on(0)) == ([] if nobody else [view("a", state)])


def test_the_earliest_look_counts() -> None:
    made = Plan()
    for when in (5.0, 3.0, 4.0):
        made.until(when)
    assert made.look_again == 3.0


@pytest.mark.parametrize("state", [S.READY, S.DRAINING, S.STOPPING])
def test_memory_that_was_taken_after_the_last_look_is_not_free(state: ReplicaState) -> None:
    there = box(view("a", state, need=5, grew=50.0))
    there.seen = 49.0
    assert there.free(GPU) == 15
    there.seen = 51.0
    assert there.free(GPU) == 20


def test_what_ends_while_it_loads_may_have_taken_memory_until_now() -> None:
    there = box(view("a", S.LOADING, need=5))
    there.seen = 99.0
    there.do("condemn", there.views["a"])
    assert there.free(GPU) == 15
