"""The box as the plan sees it: every replica, every GPU, and what is to be done about them. Pure.

`Box` is the box as it will be once the actions so far are done, so that the next decision sees the last one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Literal

from appliance.domain.gpus import Gpu
from appliance.domain.status import ReplicaState

S = ReplicaState
COMING = frozenset({S.STARTING, S.LOADING})
GOING = frozenset({S.STOPPING, S.DRAINING})
Kind = Literal["start", "wake", "drain", "stop", "sleep", "condemn", "reset", "block", "wait"]
AFTER: Mapping[str, ReplicaState] = {
    "start": S.STARTING,
    "wake": S.LOADING,
    "drain": S.DRAINING,
    "stop": S.STOPPING,
    "sleep": S.STOPPING,
    "condemn": S.STOPPING,
    "reset": S.STOPPED,
}
"""The state that follows from an action. What waits or is blocked has none of its own: it is decided about again."""


def dying(state: ReplicaState, *, process: bool) -> bool:
    """Whether a replica's process is one of its last life, which nobody looks after any more but to end it."""
    return process and state in (S.BACKOFF, S.STOPPED)


@dataclass(frozen=True, slots=True)
class View:
    """One replica as it is seen, with the settings of its runtime that matter here.

    Attributes:
        name: the replica.
        runtime: its runtime.
        state, since: where it is in its life, and since when.
        wanted: it shall run even when nobody asks.
        urgent: an operator, or a failed swap, asks for it.
        asked: requests that wait for its runtime, or were told to come back soon.
        asked_since: since when there have been such without a break.
        busy: exchanges that use it.
        used: when the last of them ended, or it became ready.
        grew: when its memory last grew: it became ready, or ended before that.
        resume_at: in backoff or quarantine, when the next start is due; inf for never by itself.
        drain_until: when its exchanges are ended if it drains still; None where it drains to go to sleep.
        to_sleep: it drains in order to sleep where it can, and not to end.
        dying: a process of its last life may still be there.
        wedged: its processes do not end even when killed; nothing new comes to its GPUs.
        gpus: the GPUs that it uses, or used last.
        choices: the GPUs that it has to have, all of them; None lets the plan choose.
        among: from which the plan may choose; None is all there are.
        width: how many GPUs it takes, where the plan chooses.
        need: bytes on each of them that it has to get; 0 is unknown.
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
    grew: float = 0.0
    resume_at: float = 0.0
    drain_until: float | None = None
    to_sleep: bool = False
    dying: bool = False
    wedged: bool = False
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
        return self.dying or self.state in (COMING | GOING | {S.READY, S.SLEEPING})

    @property
    def going(self) -> bool:
        """Its memory comes back without anybody's doing."""
        return self.dying or self.state in GOING

    @property
    def needed(self) -> bool:
        """Somebody asks for it, or it shall run in any case."""
        return self.wanted or bool(self.asked)

    def moved(self, to: ReplicaState, now: float) -> "View":
        """The same in another state: what has been loading has taken its memory by then."""
        return replace(self, state=to, since=now, grew=now if self.state in COMING else self.grew)

    @property
    def turn(self) -> tuple[bool, bool, int, float, str]:
        """Its place in line: the smallest comes first."""
        since = self.asked_since if self.asked else self.since
        return (not self.urgent, not self.asked, -self.priority, since, self.name)

    @property
    def last_used(self) -> float:
        """When it was last of use to anybody."""
        return max(self.used, self.since)


@dataclass(frozen=True, slots=True)
class Action:
    """What to do with one replica.

    Attributes:
        kind: "drain" gives it nothing new and lets it finish. "wait" only tells why nothing is done; "block" does, too,
            and says that others hold its memory. "condemn" ends what runs on a GPU with a fault. "reset" goes back to
            where everything is decided anew.
        gpus: of a start.
        reason: in words, for the operator.
        making_room_for: of a stop, a drain or a sleep, the replica that needs the room.
        to_sleep: of a drain, it may sleep when it has finished.
        hopeless: of a block, time alone does not help.
        rests: of a wait, nobody asks for it, and a request would bring it.
    """

    kind: Kind
    replica: str
    gpus: tuple[int, ...] = ()
    reason: str = ""
    making_room_for: str = ""
    to_sleep: bool = False
    hopeless: bool = False
    rests: bool = False


@dataclass(slots=True)
class Plan:
    """The actions, and when to look again even if nothing changes (monotonic seconds; None for never)."""

    actions: list[Action] = field(default_factory=list)
    look_again: float | None = None

    def until(self, when: float) -> None:
        """Look again then, or earlier."""
        self.look_again = when if self.look_again is None else min(when, self.look_again)


@dataclass(frozen=True, slots=True)
class Claim:
    """What somebody first in line leaves of a GPU to those behind.

    Attributes:
        left: bytes, once it has its room.
        by: its name.
    """

    left: float
    by: str


_NO_CLAIM = Claim(inf, "")


@dataclass(slots=True)
class Box:
    """The box as it will be once the actions so far are done.

    Attributes:
        views: every replica, by name.
        gpus: None on a box without.
        now: monotonic seconds.
        residence: seconds that a model stays at least once it is ready.
        seen: when the GPUs were looked at last.
        made: the actions so far.
        claims: by GPU.
        groups: of each `exclusive` group, who is next.
    """

    views: dict[str, View]
    gpus: Sequence[Gpu] | None
    now: float
    residence: float
    seen: float = inf
    made: Plan = field(default_factory=Plan)
    claims: dict[int, Claim] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)

    def do(
        self,
        kind: Kind,
        view: View,
        *,
        reason: str = "",
        making_room_for: str = "",
        to_sleep: bool = False,
        hopeless: bool = False,
        rests: bool = False,
    ) -> None:
        """One more action."""
        self.made.actions.append(Action(kind, view.name, view.gpus, reason, making_room_for, to_sleep, hopeless, rests))
        after = AFTER.get(kind)
        if after is not None:
            self.views[view.name] = view.moved(after, self.now)
        if after in COMING:
            self.claims |= {
                index: Claim(claim.left - view.need, claim.by)
                for index, claim in self.claims.items()
                if index in view.gpus
            }

    def others(self, view: View) -> Iterator[View]:
        """Every other replica."""
        return (other for other in self.views.values() if other.name != view.name)

    def on(self, index: int) -> Iterator[View]:
        """Who is on a GPU."""
        return (other for other in self.views.values() if index in other.gpus and other.loaded)

    def wedged(self, index: int) -> View | None:
        """Whose processes on a GPU do not end, if there are any."""
        return next((other for other in self.views.values() if other.wedged and index in other.gpus), None)

    def settling(self, view: View) -> bool:
        """Not all of its memory has been seen to be taken: it loads, or has done so until after the last look."""
        return view.state in COMING or (view.state is not S.SLEEPING and view.loaded and view.grew >= self.seen)

    def free(self, gpu: Gpu) -> int:
        """Free memory that nobody of ours has been promised: what starts takes its memory bit by bit."""
        return gpu.free - sum(other.need for other in self.on(gpu.index) if self.settling(other))

    def claim(self, gpu: Gpu) -> Claim:
        """What is left of a GPU by those who are before in line."""
        return self.claims.get(gpu.index, _NO_CLAIM)
