from dataclasses import replace
from typing import Any

import pytest

from appliance.domain.gpus import Gpu, Holder
from appliance.domain.status import ReplicaState
from appliance.supervisor import room
from appliance.supervisor.box import Box, Claim, View
from appliance.supervisor.room import Rank, Room

S = ReplicaState
NOW = 1000.0
ASKS = View("x", "x", S.STOPPED, 0.0, asked=1, need=12)


def gpu(index: int = 0, free: int = 24, **facts: Any) -> Gpu:
    return Gpu(index, f"GPU-{index}", "RTX", 24, 24 - free, free, **facts)


def there(name: str = "a", state: ReplicaState = S.READY, **facts: Any) -> View:
    placed: dict[str, Any] = {"gpus": (0,), "need": 10}
    return View(name, name, state, facts.pop("since", 0.0), **(placed | facts))


def find(*others: View, gpus: list[Gpu], view: View = ASKS, claims: dict[int, Claim] | None = None) -> Room:
    box = Box({one.name: one for one in (view, *others)}, gpus, NOW, 30.0, claims=claims or {})
    return room.find(box, view)


@pytest.mark.parametrize(
    ("others", "gpus", "rank"),
    [
        ([], [gpu()], Rank.FREE),
        ([there(state=S.LOADING)], [gpu()], Rank.LOADING),
        ([], [gpu(free=4, rising=8)], Rank.RISING),
        ([there(state=S.STOPPING)], [gpu(free=4)], Rank.GOING),
        ([there(state=S.BACKOFF, dying=True)], [gpu(free=4)], Rank.GOING),
        ([there()], [gpu(free=4)], Rank.MAKE),
        ([there(busy=3)], [gpu(free=4)], Rank.MAKE),
        ([there(since=NOW - 1)], [gpu(free=4)], Rank.LATER),
        ([there(state=S.STARTING, need=20)], [gpu(free=24)], Rank.LATER),
        ([there(pinned=True)], [gpu(free=4)], Rank.TAKEN),
        ([there(priority=1)], [gpu(free=4)], Rank.TAKEN),
        ([there(need=2)], [gpu(free=4, holders=(Holder(7, "ann", "train.py", 18),))], Rank.HELD),
        ([], [gpu(free=4)], Rank.HELD),
        ([], [gpu(free=4, fault="Xid 79")], Rank.NEVER),
        ([], [gpu(free=4, known=False)], Rank.NEVER),
        ([there(state=S.STOPPING, wedged=True)], [gpu()], Rank.NEVER),
        ([there(state=S.STOPPING, wedged=True, gpus=(1,))], [gpu()], Rank.FREE),
    ],
)
@pytest.mark.parametrize("several", [False, True])
def test_what_has_to_happen_first(others: list[View], gpus: list[Gpu], rank: Rank, several: bool) -> None:
    more = [gpu(1, free=0, holders=(Holder(8, "bob", "x", 24),))] if several and rank < Rank.HELD else []
    found = find(*others, gpus=[*gpus, *more])
    assert found.rank is rank
    assert bool(found.reason) is (rank is not Rank.FREE)
    assert rank is Rank.NEVER or found.gpus == (0,)


def test_the_gpu_where_least_has_to_happen() -> None:
    gpus = [gpu(0, 4), gpu(1, 4), gpu(2, 14)]
    busy, idle = there("a", busy=1), there("b", gpus=(1,))
    assert find(busy, idle, gpus=gpus).gpus == (2,)
    assert find(busy, idle, gpus=gpus[:2]).gpus == (1,)
    assert find(busy, gpus=gpus[:1]).gpus == (0,)


def test_what_is_left_once_it_has_its_room() -> None:
    assert find(there(), gpus=[gpu(free=4)]).left == {0: 2}
    assert find(there(state=S.STOPPING), gpus=[gpu(free=4)]).left == {0: 2}
    assert find(gpus=[gpu()], claims={0: Claim(13, "first")}).left == {0: 1}


def test_the_room_of_whoever_is_first_is_not_free() -> None:
    found = find(gpus=[gpu()], claims={0: Claim(11, "first")})
    assert (found.rank, found.reason) == (Rank.TAKEN, "waits for its turn on GPU 0 after first")
    unknown = find(gpus=[gpu()], view=replace(ASKS, need=0), claims={0: Claim(24, "first")})
    assert unknown.rank is Rank.TAKEN


def test_where_it_is_unknown_what_an_end_gives_back_it_is_tried_one_by_one() -> None:
    two = [there("old", need=0, used=1), there("new", need=0, used=2)]
    assert [other.name for other in find(*two, gpus=[gpu(free=4)]).stops] == ["old"]


def test_an_unknown_need_wants_everybody_gone() -> None:
    unknown = replace(ASKS, need=0)
    found = find(there("a"), there("b", busy=1), gpus=[gpu(free=4)], view=unknown)
    assert (found.rank, [one.name for one in found.stops], [one.name for one in found.drains]) == (
        Rank.MAKE,
        ["a"],
        ["b"],
    )
    young = find(there("a"), there("b", since=NOW - 1), gpus=[gpu(free=4)], view=unknown)
    assert (young.rank, young.stops) == (Rank.LATER, ()), "nobody goes before all can"
    assert find(there("a", S.STOPPING), gpus=[gpu(free=4)], view=unknown).rank is Rank.GOING
    assert find(there("a", S.SLEEPING), gpus=[gpu(free=4)], view=unknown).rank is Rank.FREE


def test_nobody_goes_before_all_can_who_have_to() -> None:
    found = find(there("a", busy=1), there("b", since=NOW - 1), gpus=[gpu(free=4)], view=replace(ASKS, need=20))
    assert (found.rank, found.stops, found.drains, found.left) == (Rank.LATER, (), (), {0: 4})


def test_a_sleeper_wakes_where_it_lay_down() -> None:
    asleep = replace(ASKS, state=S.SLEEPING, gpus=(1,))
    assert find(gpus=[gpu(0), gpu(1, 20)], view=asleep).gpus == (1,)
    assert find(gpus=[gpu(0), gpu(1, 4)], view=asleep).rank is Rank.HELD


def test_whether_waiting_helps() -> None:
    assert find(gpus=[gpu(known=False)]).hopeless is False
    assert find(gpus=[gpu(fault="Xid 79")]).hopeless
    assert find(gpus=[gpu()], view=replace(ASKS, need=99)).hopeless
    assert find(gpus=[gpu()], view=replace(ASKS, choices=(3,))).hopeless
    assert find(gpus=[gpu(free=4, holders=(Holder(7, "ann", "x", 20),))]).hopeless is False
    assert find(gpus=[gpu(free=4)]).lags


def test_without_gpus_there_is_room() -> None:
    box = Box({"x": ASKS}, None, NOW, 30.0)
    assert room.find(box, ASKS) == Room(Rank.FREE)
    assert find(gpus=[gpu(free=0)], view=replace(ASKS, choices=())).rank is Rank.FREE


def test_what_nobody_knows_is_not_left_to_others() -> None:
    sleeper = there(state=S.SLEEPING, need=20)
    assert find(sleeper, gpus=[gpu(free=11)]).left == {0: -1}
    assert find(there(need=0), gpus=[gpu(free=11)]).left == {0: -1}
