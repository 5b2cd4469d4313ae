"""Replicas that exist on paper only: what the plan sees of them, what it can tell them, and what can happen to them."""

from dataclasses import dataclass, field

from hypothesis import strategies as st

from appliance.domain.status import ReplicaState
from appliance.supervisor import states
from appliance.supervisor.box import COMING, View
from appliance.supervisor.queues import Queue

S = ReplicaState
GIB = 2**30


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
    drain_until: float | None = None
    to_sleep: bool = False
    retired: bool = False  # a reload has removed it: it ends and is no more
    process: Process | None = None

    def to(self, state: ReplicaState, now: float) -> None:
        if self.state in COMING:
            self.grew = now
        self.state = states.move(self.state, state)
        self.since = now

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
            dying=process is not None and self.state in (S.BACKOFF, S.STOPPED),
            gpus=process.gpus if process else (),
            need=max(1, conf.need - held),
            exclusive=conf.exclusive,
            priority=conf.priority,
            pinned=conf.pinned,
            preload=conf.preload and not self.unloaded and not self.retired,
            idle_stop=conf.idle_stop,
            sleep=conf.sleep,
        )


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
