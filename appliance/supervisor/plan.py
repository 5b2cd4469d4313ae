"""What to do now: every replica as it is seen, the GPUs and the time go in; starts, stops and waits come out.

Level-triggered: the plan looks at what is, never at what happened, so that nothing is lost when a change is missed and
nothing is done twice when it is looked at twice. Pure; `supervisor` carries it out.

The rules, in the order in which they apply:

    1  what drains is stopped once it is idle; what has been idle for its `idle_stop` is stopped or put to sleep
    2  who is asked for comes before who is only wanted; then by priority, then by who has waited longest
    3  of an `exclusive` group at most one is loaded
    4  one load at a time on a GPU, and one vLLM on the box: they pick their ports and compile in the same places
    5  nothing starts before the memory that it needs is free, seen twice
    6  who is asked for gets room: what is idle is stopped, least recently used first; never what is busy, pinned, more
       important, or younger than its time of residence
    7  memory that is held by others is named, and waited for
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from appliance.domain.gpus import Gpu
from appliance.domain.status import ReplicaState

S = ReplicaState
_WAITS = {S.STOPPED, S.BACKOFF, S.BLOCKED, S.SLEEPING}  # from these a start or a wake may follow
_COMING = {S.STARTING, S.LOADING}
_GOING = {S.STOPPING, S.DRAINING}
_NAMED = 3  # holders of memory that a reason names


@dataclass(frozen=True, slots=True)
class View:
    """One replica as it is seen, with the settings of its runtime that matter here.

    Attributes:
        name: the replica.
        runtime: its runtime.
        state, since: where it is in its life, and since when.
        wanted: it shall run even when nobody asks.
        urgent: an operator, or a failed swap, asks for it.
        asked: requests that wait for its runtime.
        asked_since: since when the longest of them waits.
        busy: exchanges that use it.
        used: when the last of them ended, or it became ready.
        resume_at: in backoff, when the next start is due.
        dying: a process of its last life may still be there.
        gpus: the GPUs that it uses, or used last.
        choices: the GPUs that it has to have, all of them; None lets the plan choose.
        among: from which the plan may choose; None is all there are.
        width: how many GPUs it takes, where the plan chooses.
        need: bytes on each of them; 0 is unknown.
        exclusive, priority, pinned, preload, idle_stop, sleep: see the configuration.
        vllm: it is launched by vLLM.
    """

    name: str
    runtime: str
    state: ReplicaState
    since: float
    wanted: bool = False
    urgent: bool = False
    asked: int = 0
    asked_since: float = 0.0
    busy: int = 0
    used: float = 0.0
    resume_at: float = 0.0
    dying: bool = False
    gpus: tuple[int, ...] = ()
    choices: tuple[int, ...] | None = None
    among: tuple[int, ...] | None = None
    width: int = 1
    need: int = 0
    exclusive: str = ""
    priority: int = 0
    pinned: bool = False
    preload: bool = False
    idle_stop: float | None = None
    sleep: bool = False
    vllm: bool = False

    @property
    def loaded(self) -> bool:
        """It has a process, or may still have one."""
        return self.dying or self.state in (_COMING | _GOING | {S.READY, S.SLEEPING})


@dataclass(frozen=True, slots=True)
class Action:
    """What to do with one replica.

    Attributes:
        kind: "wait" only tells why nothing is done; "block" does, too, and says that others hold its memory.
            "condemn" ends what runs on a GPU with a fault.
        gpus: of a start.
        reason: in words, for the operator.
        making_room_for: of a stop, the replica that needs the room.
    """

    kind: Literal["start", "wake", "stop", "sleep", "condemn", "block", "wait"]
    replica: str
    gpus: tuple[int, ...] = ()
    reason: str = ""
    making_room_for: str = ""


@dataclass(slots=True)
class Plan:
    """The actions, and when to look again even if nothing changes (monotonic seconds; None for never)."""

    actions: list[Action] = field(default_factory=list)
    look_again: float | None = None

    def until(self, when: float) -> None:
        """Look again then, or earlier."""
        self.look_again = when if self.look_again is None else min(when, self.look_again)


def plan(views: Sequence[View], gpus: Sequence[Gpu] | None, now: float, *, residence: float = 30.0) -> Plan:
    """What to do now.

    Args:
        views: every replica.
        gpus: as last seen, each with the least free memory of the last two looks; None on a box without GPUs.
        now: monotonic seconds.
        residence: seconds that a model stays at least once it is ready, before it can make room for another.
    """
    made = Plan()
    box = _Box({view.name: view for view in views}, gpus, now, residence, made)
    for view in views:
        if view.state is S.DRAINING and not view.busy:
            box.do("stop", view)
        _idle(box, view)
        _condemn(box, view)
    for view in sorted(filter(lambda view: _may_start(box, view), views), key=_turn):
        _start(box, box.views[view.name])
    for view in sorted(views, key=_turn):
        _preload(box, box.views[view.name])
    return made


def _turn(view: View) -> tuple[bool, int, float, str]:
    return (view.asked == 0, -view.priority, view.asked_since if view.asked else view.since, view.name)


@dataclass(slots=True)
class _Box:
    """The box as it will be once the actions so far are done."""

    views: dict[str, View]
    gpus: Sequence[Gpu] | None
    now: float
    residence: float
    made: Plan

    def do(
        self, kind: Literal["start", "wake", "stop", "sleep", "condemn", "block", "wait"], view: View, **facts: str
    ) -> None:
        self.made.actions.append(Action(kind, view.name, view.gpus, **facts))
        after = {
            "start": S.STARTING,
            "wake": S.LOADING,
            "stop": S.STOPPING,
            "sleep": S.STOPPING,
            "condemn": S.STOPPING,
        }.get(kind)
        if after is not None:
            self.views[view.name] = replace(view, state=after, since=self.now)

    def others(self, view: View) -> Iterator[View]:
        return (other for other in self.views.values() if other.name != view.name)

    def on(self, index: int) -> Iterator[View]:
        return (other for other in self.views.values() if index in other.gpus and other.loaded)


def _idle(box: _Box, view: View) -> None:
    if view.idle_stop is None or view.state is not S.READY or view.busy or view.asked:
        return
    due = max(view.used, view.since) + view.idle_stop
    if due > box.now:
        box.made.until(due)
        return
    words = f"idle for {view.idle_stop:g} s"
    box.do("sleep" if view.sleep else "stop", view, reason=words)


def _condemn(box: _Box, view: View) -> None:
    if view.state in _COMING | {S.READY, S.SLEEPING}:
        fault = next((gpu for gpu in box.gpus or () if gpu.index in view.gpus and gpu.fault), None)
        if fault is not None:
            box.do("condemn", view, reason=f"GPU {fault.index}: {fault.fault}")


def _may_start(box: _Box, view: View) -> bool:
    if view.dying or view.state not in _WAITS:
        return False
    if not (view.wanted or view.asked or view.state is S.BLOCKED):  # somebody asked, was refused, and will ask again
        return False
    if view.state is S.SLEEPING and not view.asked:
        return False  # sleeping is how an idle one is kept
    if view.state is S.BACKOFF and view.resume_at > box.now:
        box.made.until(view.resume_at)
        return False
    return True


def _preload(box: _Box, view: View) -> None:
    """What is to be preloaded takes room that nobody needs, and makes none."""
    if view.preload and view.state is S.STOPPED and not (view.wanted or view.asked or view.dying):
        quiet = not any(other.state in _COMING for other in box.others(view))
        rival = any(other.loaded and other.exclusive == view.exclusive != "" for other in box.others(view))
        placed = _free_place(box, view) if quiet and not rival else None
        if placed is not None:
            box.do("start", replace(view, gpus=placed), reason="preload")


def _start(box: _Box, view: View) -> None:
    rivals = [other for other in box.others(view) if other.exclusive == view.exclusive != "" and other.loaded]
    rivals = [other for other in rivals if other.runtime != view.runtime]
    if rivals and not _make_room(box, view, rivals, all_of_them=True):
        box.do("wait", view, reason=f"waits for {', '.join(other.name for other in rivals)} (exclusive)")
        return
    if rivals:
        return  # their end is a change, and the next look starts this one
    loading = next(
        (other for other in box.others(view) if other.state in _COMING and _in_each_others_way(view, other)), None
    )
    if loading is not None:
        box.do("wait", view, reason=f"waits for {loading.name} to load")
        return
    placed = _free_place(box, view)
    if placed is not None:
        box.do("wake" if view.state is S.SLEEPING else "start", replace(view, gpus=placed))
        return
    _find_room(box, view)


def _in_each_others_way(view: View, other: View) -> bool:
    if view.vllm and other.vllm:
        return True
    return bool(set(view.choices or ()) & set(other.gpus))


def _free_place(box: _Box, view: View) -> tuple[int, ...] | None:
    """GPUs with enough free memory and nobody loading there; () on a box without any, None when there is no place."""
    if box.gpus is None or view.choices == ():
        return ()
    fit = [gpu for gpu in _candidates(box, view) if not _loading_on(box, gpu.index, view) and _fits(box, view, gpu)]
    if view.choices is not None:
        return view.choices if len(fit) == len(view.choices) else None
    fit.sort(key=lambda gpu: (-_free(box, gpu), gpu.index))  # the emptiest first: models spread out
    return tuple(sorted(gpu.index for gpu in fit[: view.width])) if len(fit) >= view.width else None


def _candidates(box: _Box, view: View) -> list[Gpu]:
    """The GPUs that it may use at all, in good health."""
    among = view.choices if view.choices is not None else view.among
    named = set(among) if among is not None else None
    if view.state is S.SLEEPING:
        named = set(view.gpus)
    return [gpu for gpu in box.gpus or () if (named is None or gpu.index in named) and gpu.known and not gpu.fault]


def _loading_on(box: _Box, index: int, view: View) -> bool:
    return any(other.state in _COMING and other.name != view.name for other in box.on(index))


def _free(box: _Box, gpu: Gpu) -> int:
    """Free memory that nobody of ours has been promised: what starts takes its memory bit by bit."""
    return gpu.free - sum(other.need for other in box.on(gpu.index) if other.state in _COMING)


def _fits(box: _Box, view: View, gpu: Gpu) -> bool:
    if not view.need:  # unknown: alone on the GPU, or it would be a guess
        return not any(other.name != view.name and other.state is not S.SLEEPING for other in box.on(gpu.index))
    return _free(box, gpu) >= view.need


def _find_room(box: _Box, view: View) -> None:
    """Stop what is idle, or say who is in the way."""
    usable = _candidates(box, view)
    wanted = len(view.choices) if view.choices is not None else view.width
    if len(usable) < wanted:
        box.do("block", view, reason=_unusable(box, view))
        return
    rising = [gpu for gpu in usable if gpu.rising and _free(box, gpu) + gpu.rising >= view.need > 0]
    if len(rising) >= wanted:
        box.do("wait", view, reason=f"waits for free memory on GPU {rising[0].index} to be seen twice")
        return
    going = [other for gpu in usable for other in box.on(gpu.index) if other.state in _GOING or other.dying]
    if going:
        box.do("wait", view, reason=f"waits for the memory of {going[0].name}")
        return
    ours = [[other for other in box.on(gpu.index) if other.name != view.name] for gpu in usable]
    for gpu, there in sorted(zip(usable, ours, strict=True), key=lambda pair: len(pair[1])):
        if there and (
            not view.need or _free(box, gpu) + sum(other.need for other in there) >= view.need or view.choices
        ):
            stopped = _make_room(box, view, there, gpu=gpu)
            names = ", ".join(other.name for other in there)
            if not stopped:
                box.do("wait", view, reason=f"waits for memory that {names} uses")
            return
    words, lasting = _held_by_others(view, usable)
    box.do("block" if lasting else "wait", view, reason=words)
    box.made.until(box.now + 1.0)


def _make_room(
    box: _Box, view: View, there: Sequence[View], *, gpu: Gpu | None = None, all_of_them: bool = False
) -> bool:
    """Stop enough of `there`, least recently used first; False (and nothing stopped) when that is not possible."""
    chosen: list[View] = []
    free = _free(box, gpu) if gpu is not None else 0
    for other in sorted(there, key=lambda other: max(other.used, other.since)):
        if other.state in _GOING or other.dying:
            continue  # it makes room already
        if not _evictable(box, view, other):
            if all_of_them:
                return False
            continue
        chosen.append(other)
        free += other.need
        if not all_of_them and view.need and free >= view.need:
            break
    enough = all_of_them or not view.need or free >= view.need
    if not enough or not (chosen or all_of_them):
        return False
    for other in chosen:
        box.do("stop", other, reason=f"makes room for {view.name}", making_room_for=view.name)
    return True


def _evictable(box: _Box, view: View, other: View) -> bool:
    if not (view.asked or view.urgent):
        return False  # what is only wanted takes room that nobody needs
    if other.busy or other.asked or other.pinned or other.priority > view.priority or other.state in _COMING:
        return False
    if other.state is S.READY and (stays := other.since + box.residence) > box.now:
        box.made.until(stays)
        return False
    return True


def _unusable(box: _Box, view: View) -> str:
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
        elif not gpu.known:
            words.append(f"GPU {index} does not answer")
    return "; ".join(words) or f"it needs {view.width} GPUs and there are {len(by_index)}"


def _held_by_others(view: View, usable: Sequence[Gpu]) -> tuple[str, bool]:
    """Who holds the memory, in words, and whether that may last: a driver takes a while to give back what has ended."""
    most = max(usable, key=lambda gpu: gpu.free)
    need = f"it needs {view.need // 2**20} MiB of GPU memory, and GPU {most.index} has {most.free // 2**20} MiB free"
    if view.need > max(gpu.total for gpu in usable):
        return f"{need} of {most.total // 2**20} MiB in all: it can never fit", True
    holders = sorted((holder for gpu in usable for holder in gpu.holders), key=lambda holder: -holder.bytes)[:_NAMED]
    if holders:
        return f"{need}; held by {', '.join(map(str, holders))}", True
    return f"{need}; what has ended has not given all of it back yet", False
