"""Whether the runtimes of a new configuration fit on the GPUs as they are now, and who would have to go. Pure.

What a change removes or restarts is taken to have ended; what it adds comes in its order and takes its room. That
somebody has only just loaded is left out of account: it passes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf

from appliance.domain.gpus import Gpu
from appliance.domain.orders import Change
from appliance.domain.status import ReplicaState
from appliance.supervisor import room
from appliance.supervisor.box import Box, View
from appliance.supervisor.room import Rank, Room

S = ReplicaState
_COMES = -inf  # since when somebody is there who comes with the same change


def with_fit(
    changes: Sequence[Change], wishes: Mapping[str, Sequence[View]], views: Sequence[View], gpus: Sequence[Gpu]
) -> list[Change]:
    """The changes, each with how its memory fits.

    Args:
        changes: what would be done, in its order.
        wishes: the replicas of each runtime of the new configuration, as if somebody asked for them.
        views: every replica as it is now.
        gpus: as last seen.
    """
    ending = {change.runtime for change in changes if change.action in ("remove", "restart")}
    box = Box({view.name: view for view in views if view.runtime not in ending}, gpus, inf, 0.0)
    for view in views:
        if view.runtime in ending:
            _gone(box, view)
    return [_fitted(box, change, wishes.get(change.runtime, ())) for change in changes]


def _fitted(box: Box, change: Change, wishes: Sequence[View]) -> Change:
    if change.action not in ("add", "restart"):
        return change
    found = {view.name: _place(box, view) for view in wishes}
    words = [f"{name} {told}" if len(found) > 1 else told for name, told in found.items() if told]
    return replace(change, detail="; ".join([change.detail, *words]))


def _place(box: Box, view: View) -> str:
    """Where it would be, in words, with the box changed accordingly."""
    if view.choices == ():
        return "it needs no GPU"
    rivals = [one for one in box.others(view) if one.exclusive == view.exclusive != "" and one.loaded]
    rivals = [one for one in rivals if one.runtime != view.runtime]
    for rival in rivals:
        _gone(box, rival)
    found = room.find(box, view)
    going = [*rivals, *found.stops, *found.drains]
    for other in going:
        _gone(box, other)
    if found.rank > Rank.LATER:
        return f"does not fit now: {found.reason}"
    _come(box, replace(view, state=S.READY, gpus=found.gpus, asked=0))
    return _words(view, found, going)


def _words(view: View, found: Room, going: Sequence[View]) -> str:
    where = ", ".join(map(str, found.gpus))
    place = f"GPU {where}" if len(found.gpus) == 1 else f"GPUs {where}"
    unknown = "" if view.need else " (its memory is not known yet: it would have that for itself)"
    if going:
        names = ", ".join(f"{other.name} ({_doing(other)})" for other in going)
        return f"fits on {place} when these have gone: {names}{unknown}"
    if found.rank in (Rank.FREE, Rank.LOADING):
        return f"fits on {place} now{unknown}"
    return f"fits on {place} soon: {found.reason}{unknown}"


def _doing(view: View) -> str:
    if view.since == _COMES:
        return "comes, too"
    return "works" if room.works(view) else "idle"


def _come(box: Box, view: View) -> None:
    """It is there, and has taken its memory."""
    box.views[view.name] = replace(view, since=_COMES)
    box.gpus = [replace(gpu, free=gpu.free - view.need) if gpu.index in view.gpus else gpu for gpu in box.gpus or ()]


def _gone(box: Box, view: View) -> None:
    """It has ended, and its memory is free."""
    box.views.pop(view.name, None)
    if view.state in (S.READY, S.DRAINING, S.STOPPING) or view.dying:
        box.gpus = [
            replace(gpu, free=min(gpu.total, gpu.free + view.need)) if gpu.index in view.gpus else gpu
            for gpu in box.gpus or ()
        ]
