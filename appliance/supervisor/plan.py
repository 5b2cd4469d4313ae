"""What to do now: every replica as it is seen, the GPUs and the time go in; starts, stops and waits come out.

Level-triggered: the plan looks at what is, never at what happened, so that nothing is lost when a change is missed and
nothing is done twice when it is looked at twice. Pure; `supervisor` carries it out.

The rules, in the order in which they apply:

    1  what drains is stopped once it is idle, or at its limit; what has been idle for its `idle_stop` is stopped or put
       to sleep
    2  an operator's order and the way back after a failed swap come before what is asked for, and that before what is
       only wanted; then by priority, then by who has waited longest
    3  of an `exclusive` group at most one is loaded
    4  one load at a time on a GPU, and one vLLM on the box: they pick their ports and compile in the same places
    5  nothing starts before the memory that it needs is free, seen twice
    6  who is asked for gets room: what is idle is stopped, least recently used first; where that is not enough, what
       works is given nothing new and goes when it has finished; never what is pinned, more important, or younger than
       its time of residence
    7  nobody takes the room that somebody before it in line waits for; so models that do not fit together take turns,
       each for its time of residence at least, however much they are asked for
    8  memory that is held by others is named, and waited for
    9  what failed and is needed no more is stopped after its pause; so is, after a while, what others keep out; what is
       in quarantine has one more chance when its time has come
"""

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from operator import attrgetter

from appliance.domain.gpus import Gpu
from appliance.domain.status import ReplicaState
from appliance.supervisor import room
from appliance.supervisor.box import COMING, Box, Claim, Kind, Plan, View
from appliance.supervisor.room import Rank, Room

S = ReplicaState
_RECHECK = 1.0  # seconds between two looks for the sake of somebody who is kept out
FORGOTTEN = 600.0  # seconds after which nobody is taken to come back for what is kept out
_WAITS = {S.STOPPED, S.BACKOFF, S.BLOCKED, S.SLEEPING}  # from these a start or a wake may follow


def plan(
    views: Sequence[View], gpus: Sequence[Gpu] | None, now: float, *, residence: float = 30.0, seen: float = inf
) -> Plan:
    """What to do now.

    Args:
        views: every replica.
        gpus: as last seen, each with the least free memory of the last two looks; None on a box without GPUs.
        now: monotonic seconds.
        residence: seconds that a model stays at least once it is ready, before it can make room for another.
        seen: when the GPUs were looked at last, monotonic seconds.
    """
    box = Box({view.name: view for view in views}, gpus, now, residence, seen)
    for view in views:
        _drained(box, view)
        _idle(box, view)
        _condemn(box, view)
        _reset(box, view)
    by_turn = attrgetter("turn")
    for view in sorted(filter(lambda view: _may_start(box, view), views), key=by_turn):
        if box.views[view.name] is view:  # a sleeper before whom somebody else comes may have to end
            _start(box, view)
    for view in sorted(views, key=by_turn):
        _preload(box, box.views[view.name])
    return box.made


def _drained(box: Box, view: View) -> None:
    if view.state is not S.DRAINING or view.drain_until is None:
        return
    if not view.busy:
        box.do("sleep" if view.to_sleep else "stop", view)
    elif view.drain_until <= box.now:
        box.do("stop", view, reason="its last requests took too long")
    else:
        box.made.until(view.drain_until)


def _idle(box: Box, view: View) -> None:
    if view.idle_stop is None or view.state is not S.READY or view.busy or view.asked:
        return
    if view.preload and not view.sleep:
        return  # it would be loaded again at once
    due = view.last_used + view.idle_stop
    if due > box.now:
        box.made.until(due)
        return
    box.do("sleep" if view.sleep else "stop", view, reason=f"idle for {view.idle_stop:g} s")


def _condemn(box: Box, view: View) -> None:
    if view.state in COMING | {S.READY, S.SLEEPING}:
        fault = next((gpu for gpu in box.gpus or () if gpu.index in view.gpus and gpu.fault), None)
        if fault is not None:
            box.do("condemn", view, reason=f"GPU {fault.index}: {fault.fault}")


def _reset(box: Box, view: View) -> None:
    """What had its time goes back to where everything is decided anew."""
    if view.dying or (view.needed and view.state is not S.QUARANTINED):
        return
    match view.state:
        case S.QUARANTINED:
            due, reason = view.resume_at, "has been in quarantine for its time"
        case S.BACKOFF:
            due, reason = view.resume_at, ""
        case S.BLOCKED:
            due, reason = view.since + FORGOTTEN, "nobody has asked for it for long"
        case _:
            return
    if due <= box.now:
        box.do("reset", view, reason=reason)
    elif due < inf:
        box.made.until(due)


def _may_start(box: Box, view: View) -> bool:
    if view.dying or view.state not in _WAITS:
        return False
    if not (view.needed or view.state is S.BLOCKED):  # somebody asked, was refused, and will ask again
        return False
    if view.state is S.SLEEPING and not (view.asked or view.urgent):
        return False  # sleeping is how an idle one is kept
    if view.state is S.BACKOFF and view.resume_at > box.now:
        box.made.until(view.resume_at)
        return False
    return True


def _preload(box: Box, view: View) -> None:
    """What is to be preloaded takes room that nobody needs, and makes none."""
    if view.preload and view.state is S.STOPPED and not (view.needed or view.dying):
        quiet = not any(other.state in COMING for other in box.others(view))
        if quiet and not _rivals(box, view) and view.exclusive not in box.groups:
            found = room.find(box, view)
            if found.rank is Rank.FREE:
                box.do("start", replace(view, gpus=found.gpus), reason="preload")


def _start(box: Box, view: View) -> None:
    found = room.find(box, view)
    if found.rank is Rank.NEVER:  # it waits for nobody, so nothing beside it changes what is told of it
        box.do("block", view, reason=found.reason, hopeless=found.hopeless)
        box.made.until(box.now + _RECHECK)
        return
    if (first := box.groups.get(view.exclusive)) is not None and view.exclusive:
        box.do("wait", view, reason=f"waits for its turn after {first} (exclusive)")
        return
    if rivals := _rivals(box, view):
        _take_turns(box, view, rivals)
        return
    loading = next((other for other in box.others(view) if _in_each_others_way(view, other)), None)
    if found.rank is Rank.FREE and loading is None:
        box.do("wake" if view.state is S.SLEEPING else "start", replace(view, gpus=found.gpus))
        return
    _make_room(box, view, found)
    if found.rank <= Rank.LOADING and loading is not None:
        box.do("wait", view, reason=f"waits for {loading.name} to load")
    elif found.rank is Rank.HELD and not found.lags:
        box.do("block", view, reason=found.reason)
    else:
        box.do("wait", view, reason=found.reason, rests=_rests(box, view))
    if found.rank is Rank.HELD:
        box.made.until(box.now + _RECHECK)


def _rivals(box: Box, view: View) -> list[View]:
    """Who is loaded, or may be, of its exclusive group. Replicas of one runtime are none."""
    group = [other for other in box.others(view) if other.exclusive == view.exclusive != "" and other.loaded]
    return [other for other in group if other.runtime != view.runtime]


def _take_turns(box: Box, view: View, rivals: Sequence[View]) -> None:
    """All of its group have to go before it can come."""
    rank = max(room.moves(box, view, other) for other in rivals)
    if rank <= Rank.LATER and (view.asked or view.urgent):
        box.groups[view.exclusive] = view.name
    if rank is Rank.MAKE:
        _go(box, view, [other for other in rivals if not other.going])
    names = ", ".join(other.name for other in rivals)
    box.do("wait", view, reason=f"waits for {names} (exclusive)", rests=_rests(box, view))


def _rests(box: Box, view: View) -> bool:
    """Nobody asks for it, and those who are there would go for a request; who still loads may yet leave room."""
    if view.asked or view.urgent or any(other.state in COMING for other in box.others(view)):
        return False
    aside, asked = replace(box, made=Plan()), replace(view, asked=1)
    rivals = [room.moves(aside, asked, other) for other in _rivals(box, view)]
    return max([room.find(aside, asked).rank, *rivals]) <= Rank.LATER


def _make_room(box: Box, view: View, found: Room) -> None:
    """Claim the room, so that nobody behind takes it, and tell those to go who can."""
    if not (view.asked or view.urgent) or not found.within_reach:
        return
    _go(box, view, (*found.stops, *found.drains))
    for index, left in found.left.items():
        if index not in box.claims:
            box.claims[index] = Claim(left, view.name)
        else:
            box.claims[index] = replace(box.claims[index], left=min(left, box.claims[index].left))
    if view.exclusive:
        box.groups.setdefault(view.exclusive, view.name)


def _go(box: Box, view: View, others: Sequence[View]) -> None:
    reason = f"makes room for {view.name}"
    for other in others:
        asleep = other.sleep and not view.exclusive == other.exclusive != ""  # a sleeper is loaded
        if room.works(other):
            box.do("drain", other, reason=reason, making_room_for=view.name, to_sleep=asleep)
        else:
            kind: Kind = "sleep" if asleep and other.state is S.READY else "stop"
            box.do(kind, other, reason=reason, making_room_for=view.name)


def _in_each_others_way(view: View, other: View) -> bool:
    if other.state not in COMING:
        return False
    if view.vllm and other.vllm:
        return True
    return bool(set(view.choices or ()) & set(other.gpus))
