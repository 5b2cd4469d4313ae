"""Where a replica can have room, and who would have to go for it. Pure.

    found = find(box, view)
    found.rank                FREE: it can start on `found.gpus` now
    found.stops, found.drains who can go, where somebody has to
    found.reason              what it waits for, in words

Each GPU is looked at by itself; a replica gets those where least has to happen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from math import inf

from appliance.domain.gpus import Gpu, gib
from appliance.domain.status import ReplicaState
from appliance.supervisor.box import COMING, Box, View

S = ReplicaState
_NAMED = 3  # holders of memory that a reason names


class Rank(IntEnum):
    """What has to happen before a GPU can be used, the least first."""

    FREE = 0
    LOADING = 1  # there is room, and somebody else loads there
    RISING = 2  # there is room, and it has been seen once only
    GOING = 3  # somebody gives room back
    MAKE = 4  # somebody can be told to
    LATER = 5  # somebody can be told to soon
    TAKEN = 6  # somebody of ours is there who does not go for this one
    HELD = 7  # others hold the memory
    NEVER = 8  # no such GPU, a bad one, or one that is too small


@dataclass(frozen=True, slots=True)
class Room:
    """Where a replica could have room.

    Attributes:
        rank: of the GPU where most has to happen.
        gpus: where.
        stops: who is idle there and can be stopped.
        drains: who works there and can be told to finish.
        reason: what it waits for.
        left: bytes on each of the GPUs that would be left once it has its room.
        lags: nobody is seen to hold what is missing; a driver takes a while to give back what has ended.
        hopeless: time alone does not help.
    """

    rank: Rank
    gpus: tuple[int, ...] = ()
    stops: tuple[View, ...] = ()
    drains: tuple[View, ...] = ()
    reason: str = ""
    left: dict[int, float] = field(default_factory=dict)
    lags: bool = False
    hopeless: bool = False

    @property
    def within_reach(self) -> bool:
        """It gets there by waiting and by what the plan can do."""
        return self.rank <= Rank.LATER


@dataclass(frozen=True, slots=True)
class _Spot:
    """One GPU for one replica."""

    gpu: Gpu
    rank: Rank
    reason: str = ""
    stops: tuple[View, ...] = ()
    drains: tuple[View, ...] = ()
    left: float = inf
    lags: bool = False

    @property
    def cost(self) -> tuple[int, int, int, int, int]:
        """The emptiest first, so that models spread out."""
        return (self.rank, len(self.drains), len(self.stops), -self.gpu.free, self.gpu.index)


def find(box: Box, view: View) -> Room:
    """The best room for a replica that is not running."""
    if box.gpus is None or view.choices == ():
        return Room(Rank.FREE)
    named = view.gpus if view.state is S.SLEEPING and view.gpus else view.choices
    wanted = view.width if named is None else len(named)
    usable = _usable(box, named if named is not None else view.among)
    if len(usable) < wanted:
        silent = any(not gpu.known for gpu in box.gpus)
        return Room(Rank.NEVER, reason=_unusable(box, view), hopeless=not silent)
    spots = sorted((_look(box, view, gpu) for gpu in usable), key=lambda spot: spot.cost)[:wanted]
    short = max(spots, key=lambda spot: spot.rank)
    gone = {other.name: other for spot in spots for other in (*spot.stops, *spot.drains)}
    drained = {other.name for spot in spots for other in spot.drains}
    return Room(
        short.rank,
        tuple(sorted(spot.gpu.index for spot in spots)),
        tuple(other for other in gone.values() if other.name not in drained),
        tuple(other for other in gone.values() if other.name in drained),
        short.reason,
        {spot.gpu.index: spot.left for spot in spots},
        short.lags,
        short.rank is Rank.NEVER,
    )


def moves(box: Box, view: View, other: View) -> Rank:
    """Whether `other` goes for `view`: MAKE for at once, GOING for already, LATER or TAKEN.

    Who is only wanted takes room that nobody needs. Nobody goes who is pinned, more important or of the same runtime,
    and nobody before its time of residence is over.
    """
    if other.going:
        return Rank.GOING
    if not (view.asked or view.urgent) or other.pinned or other.priority > view.priority:
        return Rank.TAKEN
    if other.runtime == view.runtime or (other.state is S.SLEEPING and other.turn < view.turn):
        return Rank.TAKEN
    if other.state in COMING:
        return Rank.LATER
    if other.state is S.READY and (stays := other.since + box.residence) > box.now:
        box.made.until(stays)
        return Rank.LATER
    return Rank.MAKE


def works(other: View) -> bool:
    """It has to finish something before it can go."""
    return bool(other.busy) or (other.state is S.READY and bool(other.asked))


def _usable(box: Box, among: Sequence[int] | None) -> list[Gpu]:
    """The GPUs that it may use at all, in good health."""
    named = set(among) if among is not None else None
    return [
        gpu
        for gpu in box.gpus or ()
        if (named is None or gpu.index in named) and gpu.known and not gpu.fault and not box.wedged(gpu.index)
    ]


def _look(box: Box, view: View, gpu: Gpu) -> _Spot:
    there = [other for other in box.on(gpu.index) if other.name != view.name]
    if not view.need:
        return _alone(box, view, gpu, [other for other in there if other.state is not S.SLEEPING])
    if view.need > gpu.total:
        return _Spot(gpu, Rank.NEVER, f"{_short(view, gpu)} of {gib(gpu.total)} in all: it can never fit")
    where = f"GPU {gpu.index}"
    claim, real = box.claim(gpu), box.free(gpu)
    loading = [other for other in there if box.settling(other)]
    if min(real, claim.left) >= view.need:
        rank = Rank.LOADING if loading else Rank.FREE
        reason = f"waits for {loading[0].name} to load" if loading else ""
        return _Spot(gpu, rank, reason, left=min(real, claim.left) - view.need)
    if real >= view.need:
        return _Spot(gpu, Rank.TAKEN, f"waits for its turn on {where} after {claim.by}")
    unseen = [other for other in loading if other.state not in COMING]
    if unseen:  # the free memory that was seen may hold theirs, or not: nobody goes on a guess
        reason = f"waits for the memory of {_names(unseen)} on {where} to be seen"
        return _Spot(gpu, Rank.RISING, reason, left=min(real, claim.left) - view.need)
    if real + gpu.rising >= view.need:
        reason = f"waits for free memory on {where} to be seen twice"
        return _Spot(gpu, Rank.RISING, reason, left=min(real + gpu.rising, claim.left) - view.need)
    going = [other for other in there if other.going]
    after = min(real + gpu.rising + sum(_gain(other, gpu) for other in going), claim.left)
    if after >= view.need:
        reason = f"waits for the memory of {_names(going)} on {where}"
        return _Spot(gpu, Rank.GOING, reason, left=after - view.need)
    return _others_go(box, view, gpu, there, after)


def _others_go(box: Box, view: View, gpu: Gpu, there: Sequence[View], after: float) -> _Spot:
    """Enough of who is there goes, or it is said who is in the way. `after` is free once those are gone who go."""
    ranks = {other.name: moves(box, view, other) for other in there}
    reason = f"waits for memory of GPU {gpu.index} that {_users(there)}"
    for most in (Rank.MAKE, Rank.LATER, Rank.TAKEN):
        chosen: list[View] = []
        free = after
        for other in sorted(there, key=_first_to_go):
            if free < view.need and Rank.MAKE <= ranks[other.name] <= most:
                chosen.append(other)
                free += other.need if most is Rank.TAKEN and gpu.holders else _gain(other, gpu)
        if chosen and free >= view.need:
            going = _needed(chosen, view.need - after) if most is Rank.MAKE else []
            sure = after + sum(_sure_gain(other) for other in chosen)
            return _spot(gpu, most, reason, going, sure - view.need)
    holders = sorted(gpu.holders, key=lambda holder: -holder.bytes)[:_NAMED]
    if holders:
        return _Spot(gpu, Rank.HELD, f"{_short(view, gpu)}; held by {', '.join(map(str, holders))}")
    lagging = f"{_short(view, gpu)}; what has ended has not given all of it back yet"
    return _Spot(gpu, Rank.HELD, lagging, lags=True)


def _alone(box: Box, view: View, gpu: Gpu, there: Sequence[View]) -> _Spot:
    """Its need is unknown: it has the GPU for itself, or it would be a guess."""
    claim = box.claim(gpu)
    if claim.by:
        return _Spot(gpu, Rank.TAKEN, f"waits for its turn on GPU {gpu.index} after {claim.by}")
    if not there:
        return _Spot(gpu, Rank.FREE, left=0)
    rank = max(moves(box, view, other) for other in there)
    reason = f"waits for memory of GPU {gpu.index} that {_users(there)}"
    if rank is Rank.GOING:
        reason = f"waits for the memory of {_names(there)} on GPU {gpu.index}"
    going = [other for other in there if not other.going] if rank is Rank.MAKE else []
    return _spot(gpu, rank, reason, going, 0)


def _spot(gpu: Gpu, rank: Rank, reason: str, going: Sequence[View], left: float) -> _Spot:
    stops = tuple(other for other in going if not works(other))
    drains = tuple(other for other in going if works(other))
    return _Spot(gpu, rank, reason, stops, drains, left)


def _first_to_go(other: View) -> tuple[bool, bool, int, float]:
    """Idle ones first, least recently used first; then those that work, the less important and longest there first."""
    busy = works(other)
    return (busy, other.state is S.SLEEPING, other.priority if busy else 0, other.since if busy else other.last_used)


def _gain(other: View, gpu: Gpu) -> float:
    """Bytes that its end gives back. Where that is unknown it is tried: the next look sees what came of it."""
    return gpu.total if other.state is S.SLEEPING else other.need or gpu.total


def _sure_gain(other: View) -> int:
    return 0 if other.state is S.SLEEPING else other.need


def _needed(chosen: Sequence[View], missing: float) -> list[View]:
    """Those without whom it would not be enough, as far as that is certain."""
    kept = list(chosen)
    for other in chosen:
        rest = sum(_sure_gain(one) for one in kept if one is not other)
        if rest >= missing:
            kept.remove(other)
    return kept


def _names(views: Sequence[View]) -> str:
    return ", ".join(view.name for view in views)


def _users(views: Sequence[View]) -> str:
    return f"{_names(views)} {'use' if len(views) > 1 else 'uses'}"


def _unusable(box: Box, view: View) -> str:
    named = view.choices if view.choices is not None else view.among
    named = named if named is not None else tuple(gpu.index for gpu in box.gpus or ())
    by_index = {gpu.index: gpu for gpu in box.gpus or ()}
    words = []
    for index in named:
        gpu = by_index.get(index)
        if gpu is None:
            words.append(f"there is no GPU {index}")
        elif gpu.fault:
            words.append(f"GPU {index}: {gpu.fault}")
        elif (other := box.wedged(index)) is not None:
            words.append(f"GPU {index} is held by processes of {other.name} that do not end even when killed")
        elif not gpu.known:
            words.append(f"GPU {index} does not answer")
    return "; ".join(words) or f"it needs {view.width} GPUs and there are {len(by_index)}"


def _short(view: View, gpu: Gpu) -> str:
    digits = 1 if gib(view.need) != gib(gpu.free) else 3  # what does not fit must not look as if it did
    need, free = gib(view.need, digits), gib(gpu.free, digits)
    return f"it needs {need} of GPU memory, and GPU {gpu.index} has {free} free"
