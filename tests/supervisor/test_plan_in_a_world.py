"""The plan in a simulated box where anything happens in any order."""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from appliance.domain.gpus import Gpu
from appliance.domain.status import ReplicaState
from appliance.supervisor import states
from appliance.supervisor.box import View
from appliance.supervisor.plan import plan

S = ReplicaState
GIB = 2**30
TOTAL = 24 * GIB
NAMES = ("a", "b", "c", "d")


@dataclass
class Model:
    """A replica with a process that a test can kill."""

    name: str
    need: int
    exclusive: str = ""
    idle_stop: float | None = None
    state: ReplicaState = S.STOPPED
    since: float = 0.0
    wanted: bool = False
    asked: int = 0
    busy: int = 0
    used: float = 0.0
    resume_at: float = 0.0
    gpus: tuple[int, ...] = ()
    holds: int = 0
    drain_until: float | None = None
    trees: int = 0
    starts: list[float] = field(default_factory=list)

    def to(self, state: ReplicaState, now: float) -> None:
        self.state = states.move(self.state, state)
        self.since = now

    def view(self) -> View:
        return View(
            self.name,
            self.name,
            self.state,
            self.since,
            wanted=self.wanted,
            asked=self.asked,
            busy=self.busy,
            used=self.used,
            resume_at=self.resume_at,
            drain_until=self.drain_until,
            dying=self.state is S.BACKOFF and self.trees > 0,
            gpus=self.gpus,
            need=self.need,
            exclusive=self.exclusive,
            idle_stop=self.idle_stop,
        )


class World(RuleBasedStateMachine):
    @initialize(
        needs=st.lists(st.integers(1, 24), min_size=4, max_size=4),
        groups=st.lists(st.sampled_from(["", "", "big"]), min_size=4, max_size=4),
        idles=st.lists(st.sampled_from([None, 60.0]), min_size=4, max_size=4),
    )
    def box(self, needs: list[int], groups: list[str], idles: list[float | None]) -> None:
        rows = zip(NAMES, needs, groups, idles, strict=True)
        self.models = {name: Model(name, need * GIB, group, idle) for name, need, group, idle in rows}
        self.foreign = 0
        self.now = 1000.0

    def gpus(self) -> list[Gpu]:
        found = []
        for index in (0, 1):
            ours = sum(model.holds for model in self.models.values() if index in model.gpus and model.trees)
            used = ours + (self.foreign if index == 0 else 0)
            found.append(Gpu(index, str(index), "", TOTAL, used, max(0, TOTAL - used)))
        return found

    @rule()
    def look(self) -> None:
        gpus = self.gpus()
        for action in plan([model.view() for model in self.models.values()], gpus, self.now).actions:
            model = self.models[action.replica]
            if action.kind == "start":
                assert model.trees == 0, "a second tree"
                assert model.state in (S.STOPPED, S.BACKOFF, S.BLOCKED)
                assert model.wanted or model.asked
                assert model.resume_at <= self.now or model.state is not S.BACKOFF, "before its pause was over"
                free = {gpu.index: gpu.free for gpu in gpus}
                assert all(free[index] >= model.need for index in action.gpus), "before the memory was free"
                rivals = [other for other in self.models.values() if other is not model and other.trees]
                assert not any(other.exclusive == model.exclusive != "" for other in rivals)
                model.gpus, model.trees, model.holds = action.gpus, 1, 0
                model.wanted = True
                model.starts.append(self.now)
                model.to(S.STARTING, self.now)
            elif action.kind == "stop":
                assert not model.busy, "while it works"
                model.wanted = False
                model.to(S.STOPPING, self.now)
            elif action.kind == "drain":
                model.wanted, model.drain_until = False, self.now + 600
                model.to(S.DRAINING, self.now)
            elif action.kind == "block" and model.state is not S.BLOCKED:
                model.to(S.BLOCKED, self.now)

    @rule(seconds=st.sampled_from([0.5, 5.0, 40.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(name=st.sampled_from(NAMES), asked=st.integers(0, 3))
    def requests(self, name: str, asked: int) -> None:
        self.models[name].asked = asked

    @rule(name=st.sampled_from(NAMES))
    def process_progresses(self, name: str) -> None:
        model = self.models[name]
        if model.state is S.STARTING:
            model.holds = model.need
            model.to(S.READY, self.now)
            model.used, model.busy, model.asked = self.now, model.asked, 0
        elif model.state in (S.READY, S.DRAINING):
            model.busy, model.used = 0, self.now
        elif model.state is S.STOPPING:
            model.trees = model.holds = 0
            model.to(S.STOPPED, self.now)
        elif model.state is S.BACKOFF:
            model.trees = model.holds = 0

    @rule(name=st.sampled_from(NAMES))
    def process_dies(self, name: str) -> None:
        model = self.models[name]
        if model.state in (S.STARTING, S.READY):
            model.busy = 0
            model.resume_at = self.now + 8
            model.to(S.BACKOFF, self.now)

    @rule(size=st.integers(0, 24))
    def somebody_else_uses_the_gpu(self, size: int) -> None:
        self.foreign = size * GIB

    @precondition(lambda self: hasattr(self, "models"))
    @rule(name=st.sampled_from(NAMES))
    def in_the_end_whoever_is_asked_for_is_served(self, name: str) -> None:
        """With nobody else asking and no foreign memory, a request is answered within a bounded number of steps."""
        self.foreign = 0
        for model in self.models.values():
            model.asked = model.busy = 0
            model.wanted = False
        model = self.models[name]
        model.asked = 1
        for _ in range(40):
            self.look()
            for other in NAMES:
                if self.models[other].state is not S.READY:
                    self.process_progresses(other)
            if model.state is S.READY:
                return
            self.now += 10
        raise AssertionError(f"{name} is stuck in {model.state}")

    @invariant()
    def memory_is_never_promised_twice(self) -> None:
        for index in (0, 1):
            users = [model for model in getattr(self, "models", {}).values() if index in model.gpus and model.trees]
            coming = sum(model.need for model in users if model.state in (S.STARTING, S.READY))
            going = sum(model.holds for model in users if model.state not in (S.STARTING, S.READY))
            assert coming + going <= TOTAL


World.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestWorld = World.TestCase
