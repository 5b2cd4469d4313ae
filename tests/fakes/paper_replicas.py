"""Replicas that exist on paper only: what the plan sees of them, what it can tell them, and what can happen to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from hypothesis import strategies as st

from appliance.domain.status import ReplicaState
from appliance.supervisor import states
from appliance.supervisor.box import AFTER, Action, View, dying
from appliance.supervisor.queues import Queue

S = ReplicaState
GIB = 2**30
DRAIN = 30.0
MAKE_ROOM = 600.0


@dataclass(frozen=True)
class Settings:
    """A runtime of the configuration."""

    need: int
    replicas: int = 1
    exclusive: str = ""
    priority: int = 0
    pinned: bool = False
    preload: bool = False
    idle_stop: float | None = None
    sleep: bool = False


any_settings = st.builds(
    Settings,
    need=st.integers(1, 24).map(lambda size: size * GIB),
    replicas=st.sampled_from([1, 1, 2]),
    exclusive=st.sampled_from(["", "", "big"]),
    priority=st.sampled_from([0, 0, 1]),
    pinned=st.sampled_from([False, False, False, True]),
    preload=st.sampled_from([False, False, True]),
    idle_stop=st.sampled_from([None, 60.0]),
    sleep=st.booleans(),
)


@dataclass
class Process:
    """What a replica has started. Its memory is that of the configuration it was started with."""

    takes: int
    gpus: tuple[int, ...]
    holds: int = 0
    asleep: bool = False


@dataclass
class Model:
    """A replica with a process that a test can kill."""

    name: str
    runtime: str
    settings: Settings
    state: ReplicaState = S.STOPPED
    since: float = 0.0
    wanted: bool = False
    urgent: bool = False
    unloaded: bool = False
    busy: int = 0
    used: float = 0.0
    grew: float = 0.0
    resume_at: float = 0.0
    condemned: float | None = None  # its next failure is its last, for so many seconds
    drain_until: float | None = None
    to_sleep: bool = False
    retired: bool = False  # a reload has removed it: it ends and is no more
    process: Process | None = None

    def to(self, state: ReplicaState, now: float) -> None:
        states.move(self.state, state)
        moved = View(self.name, self.runtime, self.state, self.since, grew=self.grew).moved(state, now)
        self.state, self.since, self.grew = moved.state, moved.since, moved.grew

    def obey(self, action: Action, now: float) -> None:
        """Do what the plan says, if it may say that; a start is the world's affair."""
        match action.kind:
            case "wake":
                assert self.process is not None
                self.process.asleep = False
                self.to(AFTER[action.kind], now)
            case "reset":
                assert self.process is None
                self.wanted = self.state is S.QUARANTINED
                self.to(AFTER[action.kind], now)
            case "block" if self.state in (S.STOPPED, S.BACKOFF):
                self.to(S.BLOCKED, now)
            case "wait" if self.state in (S.BLOCKED, S.BACKOFF):
                self.to(S.STOPPED, now)
            case "drain":
                self.wanted, self.to_sleep, self.drain_until = False, action.to_sleep, now + MAKE_ROOM
                self.to(AFTER[action.kind], now)
            case "sleep":
                assert not self.busy
                self.drain_until = None
                if self.state is S.READY:
                    self.to(S.DRAINING, now)
            case "condemn":
                self.busy, self.wanted = 0, True
                self.to(AFTER[action.kind], now)
            case "stop":
                over = self.drain_until is not None and self.drain_until <= now
                assert not self.busy or over, "while it works"
                self.wanted = self.urgent = False
                self.busy = 0
                self.to(AFTER[action.kind], now)
            case _:
                pass

    def drain(self, now: float) -> None:
        """An order to end in good order."""
        self.wanted = self.urgent = False
        if self.state in (S.READY, S.DRAINING):
            self.drain_until = min(self.drain_until or inf, now + DRAIN)
            self.to_sleep = False
            if self.state is S.READY:
                self.to(S.DRAINING, now)
        elif self.process and S.STOPPING in states.LIFE[self.state].exits:
            self.to(S.STOPPING, now)

    def die(self, now: float) -> None:
        """Its process, if there is one that nobody is ending, ends by itself."""
        if self.process and self.state in (S.STARTING, S.LOADING, S.READY, S.DRAINING, S.SLEEPING):
            self.busy, self.drain_until, self.urgent = 0, None, False
            self.resume_at = now + 8
            self.to(S.BACKOFF, now)

    def view(self, queue: Queue, now: float) -> View:
        conf, process = self.settings, self.process
        held = process.holds if process and self.state is S.SLEEPING else 0
        return View(
            self.name,
            self.runtime,
            self.state,
            self.since,
            wanted=self.wanted,
            urgent=self.urgent,
            asked=0 if self.retired else queue.asked(now),
            asked_since=queue.since,
            busy=self.busy,
            used=self.used,
            grew=self.grew,
            resume_at=self.resume_at,
            drain_until=self.drain_until,
            to_sleep=self.to_sleep,
            dying=dying(self.state, process=process is not None),
            gpus=process.gpus if process else (),
            need=max(1, conf.need - held),
            exclusive=conf.exclusive,
            priority=conf.priority,
            pinned=conf.pinned,
            preload=conf.preload and not self.unloaded and not self.retired,
            idle_stop=conf.idle_stop,
            sleep=conf.sleep,
        )


def give_back(models: Mapping[str, Model], coming: str, gone: Sequence[str]) -> None:
    """What did not come gives the room back to those who made it."""
    back = [one for name in gone if (one := models.get(name)) and not (one.retired or one.unloaded)]
    if back and coming in models:
        models[coming].wanted = False
    for model in back:
        model.wanted = model.urgent = True


@dataclass
class Line:
    """Who waits for a runtime, each with its deadline, and what became of those who did."""

    queue: Queue = field(default_factory=Queue)
    deadlines: list[float] = field(default_factory=list)
    served: int = 0
    refused: int = 0

    def expire(self, now: float) -> None:
        """Who has waited for too long is told so."""
        for deadline in [one for one in self.deadlines if one <= now]:
            self.deadlines.remove(deadline)
            self.queue.leave()
            self.queue.sent_away(now, 10.0)
            self.refused += 1

    def serve(self, now: float) -> int:
        """Everybody who waits is served; how many."""
        self.queue.served(now)
        served = len(self.deadlines)
        for _ in self.deadlines:
            self.queue.leave()
        self.served += served
        self.deadlines.clear()
        return served
