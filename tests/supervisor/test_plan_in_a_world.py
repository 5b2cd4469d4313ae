"""The plan in a simulated box where anything happens in any order."""

from dataclasses import replace

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from appliance.domain.gpus import Gpu, Holder
from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.supervisor import pauses, states
from appliance.supervisor.box import AFTER, Action, View
from appliance.supervisor.plan import plan
from appliance.supervisor.swaps import Swaps
from appliance.supervisor.verdict import Retry
from tests.fakes.paper_deadlines import DUE, in_time
from tests.fakes.paper_replicas import GIB, Line, Model, Process, Settings, any_settings, give_back

S = ReplicaState
TOTAL = 24 * GIB
KEPT = GIB // 2  # by a sleeper
RESIDENCE = 30.0
LOAD_WAIT = 120.0
RUNTIMES = ("a", "b", "c", "d")
name_of = st.sampled_from(RUNTIMES)


def test_the_plan_is_held_to_every_deadline_that_the_table_says_it_keeps() -> None:
    assert set(DUE) == {state for state, stay in states.LIFE.items() if stay.keeper is states.Keeper.PLAN} | {S.READY}


class World(RuleBasedStateMachine):
    """A box with two GPUs and four runtimes at most."""

    @initialize(chosen=st.lists(any_settings, min_size=4, max_size=4))
    def box(self, chosen: list[Settings]) -> None:
        self.models: dict[str, Model] = {}
        self.lines = {name: Line() for name in RUNTIMES}
        self.swaps = Swaps()
        self.foreign, self.fault, self.silent = [0, 0], ["", ""], [False, False]
        self.now = 1000.0
        self.looks = [self.gpus(), self.gpus()]
        self.looked = self.now
        for name, conf in zip(RUNTIMES, chosen, strict=True):
            self.admit(name, conf)

    def admit(self, name: str, conf: Settings) -> None:
        names = [name] if conf.replicas == 1 else [f"{name}@{number}" for number in range(1, conf.replicas + 1)]
        self.models |= {one: Model(one, name, conf, since=self.now) for one in names}

    def members(self, name: str) -> list[Model]:
        return [model for model in self.models.values() if model.runtime == name and not model.retired]

    def gpus(self) -> list[Gpu]:
        found = []
        for index in (0, 1):
            mine = [one.process for one in self.models.values() if one.process and index in one.process.gpus]
            used = sum(process.holds for process in mine) + self.foreign[index]
            holders = (Holder(7, "ann", "train.py", self.foreign[index]),) if self.foreign[index] else ()
            gpu = Gpu(index, str(index), "", TOTAL, used, max(0, TOTAL - used), holders, self.fault[index])
            found.append(replace(gpu, known=not self.silent[index]))
        return found

    def seen(self) -> list[Gpu]:
        """As they were seen last, with the least free memory of the last two looks."""
        pairs = zip(*self.looks, strict=True)
        return [replace(last, free=min(first.free, last.free)) for first, last in pairs]

    # ── what the supervisor does ──

    @rule()
    def the_gpus_are_looked_at(self) -> None:
        self.looks, self.looked = [self.looks[1], self.gpus()], self.now
        self.now += 0.25

    @rule()
    def look(self) -> None:
        self.expire()
        gpus = self.seen()
        for coming, gone in self.swaps.forsaken({view.name: view for view in self.views()}).items():
            give_back(self.models, coming, gone)
        made = plan(self.views(), gpus, self.now, residence=RESIDENCE, seen=self.looked)
        for action in made.actions:
            self.act(action, self.models[action.replica], gpus)
        for model in self.models.values():
            in_time(model.view(self.lines[model.runtime].queue, self.now), self.now, made.look_again)

    def views(self) -> list[View]:
        return [one.view(self.lines[one.runtime].queue, self.now) for one in self.models.values()]

    def act(self, action: Action, model: Model, gpus: list[Gpu]) -> None:
        if action.making_room_for:
            stays = model.since + RESIDENCE if model.state is S.READY else 0
            assert stays <= self.now, "before its time was over"
            assert not model.settings.pinned
            assert model.settings.priority <= self.models[action.making_room_for].settings.priority
            self.swaps.begin(action.making_room_for, model.name)
        if action.kind == "start":
            self.start(action, model, gpus)
            return
        if action.kind == "wake":
            assert model.process is not None
            free = {gpu.index: gpu.free for gpu in gpus}
            assert all(free[index] + model.process.holds >= model.settings.need for index in model.process.gpus)
        model.obey(action, self.now)

    def start(self, action: Action, model: Model, gpus: list[Gpu]) -> None:
        assert model.process is None, "a second tree"
        assert not model.retired
        assert model.resume_at <= self.now or model.state is not S.BACKOFF, "before its pause was over"
        asked = self.lines[model.runtime].queue.asked(self.now)
        assert model.wanted or asked or model.state is S.BLOCKED or action.reason == "preload"
        by_index = {gpu.index: gpu for gpu in gpus}
        assert len(action.gpus) == 1
        for index in action.gpus:
            promised = sum(
                one.process.takes
                for one in self.models.values()
                if one.process and index in one.process.gpus and one.state in (S.STARTING, S.LOADING)
            )
            assert promised == 0, "one load at a time"
            assert by_index[index].free >= model.settings.need, "before the memory was free"
            assert by_index[index].known
            assert not by_index[index].fault
        rivals = [one for one in self.models.values() if one.process and one.runtime != model.runtime]
        assert not any(one.settings.exclusive == model.settings.exclusive != "" for one in rivals)
        model.process = Process(model.settings.need, action.gpus)
        model.wanted, model.unloaded, model.drain_until, model.to_sleep = True, False, None, False
        model.to(AFTER[action.kind], self.now)

    def settle(self, model: Model) -> None:
        row = ReplicaStatus(model.runtime, model.name, "vllm", model.state, self.now, pid=1 if model.process else None)
        give_back(self.models, model.name, self.swaps.settle(row))

    def expire(self) -> None:
        """Who has waited for too long is told so."""
        for line in self.lines.values():
            line.expire(self.now)

    # ── what happens to it ──

    @rule(seconds=st.sampled_from([0.5, 5.0, 40.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(name=name_of, asked=st.integers(1, 3))
    def requests(self, name: str, asked: int) -> None:
        ready = [model for model in self.members(name) if model.state is S.READY]
        if ready:
            ready[0].busy += asked
            self.lines[name].served += asked
            return
        if self.members(name):
            for _ in range(asked):
                self.lines[name].queue.join(self.now)
                self.lines[name].deadlines.append(self.now + LOAD_WAIT)

    @rule(name=name_of)
    def clients_leave(self, name: str) -> None:
        line = self.lines[name]
        for _ in line.deadlines:
            line.queue.leave()
        line.deadlines.clear()
        for model in self.members(name):
            model.busy, model.used = 0, self.now

    @rule(name=name_of)
    def processes_progress(self, name: str) -> None:
        for model in [one for one in self.models.values() if one.runtime == name]:
            self.progress(model)

    def progress(self, model: Model) -> None:
        process = model.process
        if process and process.asleep and model.state is S.STARTING:
            model.to(S.SLEEPING, self.now)
        elif process and model.state in (S.STARTING, S.LOADING):
            process.asleep = False
            process.holds = process.takes
            model.to(S.READY, self.now)
            model.used, model.urgent = self.now, False
            self.settle(model)
            model.busy += self.lines[model.runtime].serve(self.now)
        elif model.state is S.DRAINING and model.drain_until is None and process:
            process.holds = min(process.holds, KEPT)
            model.to(S.SLEEPING, self.now)
        elif model.state in (S.READY, S.DRAINING):
            model.busy, model.used = 0, self.now
        elif model.state is S.STOPPING:
            model.process = None
            model.to(S.STOPPED, self.now)
            if model.retired:
                del self.models[model.name]
        elif model.state is S.BACKOFF and process:
            model.process = None
            self.settle(model)
            if model.retired:
                del self.models[model.name]
            elif model.condemned is not None:
                model.wanted, model.resume_at, model.condemned = False, self.now + model.condemned, None
                model.to(S.QUARANTINED, self.now)

    @rule(name=name_of)
    def a_process_dies(self, name: str) -> None:
        for model in self.members(name)[:1]:
            model.die(self.now)

    @rule(name=name_of, heals=st.booleans())
    def a_process_fails_once_too_often(self, name: str, heals: bool) -> None:
        self.a_process_dies(name)
        for model in self.members(name)[:1]:
            if model.state is S.BACKOFF and model.process:
                model.condemned = pauses.trial(Retry.BACKOFF if heals else Retry.NEVER)

    @rule(name=name_of)
    def files_change(self, name: str) -> None:
        for model in self.members(name):
            if model.state is S.QUARANTINED:
                model.wanted = model.urgent = True
                model.to(S.STOPPED, self.now)

    @rule(index=st.sampled_from([0, 1]), size=st.integers(0, 24))
    def somebody_else_comes_and_goes(self, index: int, size: int) -> None:
        free = self.gpus()[index].free + self.foreign[index]
        self.foreign[index] = min(size * GIB, free)

    @rule(index=st.sampled_from([0, 1]), fault=st.sampled_from(["", "Xid 79"]), silent=st.booleans())
    def a_gpu_has_a_fault_or_does_not_answer(self, index: int, fault: str, silent: bool) -> None:
        self.fault[index], self.silent[index] = fault, silent

    # ── what the operator does ──

    @rule(name=name_of)
    def an_order_to_load(self, name: str) -> None:
        self.files_change(name)  # an order is as good
        for model in self.members(name):
            model.wanted = model.urgent = True
            model.unloaded = False

    @rule(name=name_of)
    def an_order_to_drain(self, name: str) -> None:
        for model in self.members(name):
            model.drain(self.now)
            model.unloaded = True

    @rule(name=name_of, conf=any_settings)
    def a_reload_changes_or_adds_a_runtime(self, name: str, conf: Settings) -> None:
        if any(model.retired and model.runtime == name for model in self.models.values()):
            return  # the last one is still on its way
        before = self.members(name)
        if before and replace(before[0].settings, need=conf.need, replicas=conf.replicas, sleep=conf.sleep) == conf:
            return
        if before and before[0].settings.need == conf.need and len(before) == conf.replicas:
            for model in before:
                model.settings = replace(conf, sleep=model.settings.sleep)  # settings that need no new process
            return
        self.a_reload_removes_a_runtime(name)
        if not any(model.runtime == name for model in self.models.values()):
            self.admit(name, conf)

    @rule(name=name_of)
    def a_reload_removes_a_runtime(self, name: str) -> None:
        for model in self.members(name):
            if model.process is None:
                del self.models[model.name]
                continue
            model.drain(self.now)
            model.retired = True
        self.clients_leave(name)

    @rule()
    def the_appliance_is_killed_and_comes_back(self) -> None:
        """It has forgotten everything but its records; what runs is taken over, what was ending is removed."""
        before, self.swaps = self.models, Swaps()
        self.lines = {name: Line() for name in RUNTIMES}
        self.models = {}
        for old in before.values():
            if old.retired:
                continue
            model = Model(old.name, old.runtime, old.settings, since=self.now)
            if old.process and old.state in (S.STARTING, S.LOADING, S.READY, S.SLEEPING):
                old.process.asleep = old.state is S.SLEEPING or old.process.asleep
                model.process, model.wanted = old.process, True
                model.to(S.STARTING, self.now)
            self.models[old.name] = model
        self.the_gpus_are_looked_at()
        self.the_gpus_are_looked_at()

    # ── what must come of it ──

    def peace(self) -> None:
        """Nothing happens from outside any more, and nobody has privileges."""
        self.foreign, self.fault, self.silent = [0, 0], ["", ""], [False, False]
        for name in RUNTIMES:
            self.files_change(name)
        for model in self.models.values():
            model.settings = replace(model.settings, pinned=False, priority=0)
            model.wanted = model.urgent = False
            model.condemned = None
        for name in RUNTIMES:
            self.clients_leave(name)

    @precondition(lambda self: hasattr(self, "models"))
    @rule(name=name_of)
    def in_the_end_whoever_is_asked_for_is_served(self, name: str) -> None:
        """With nobody else asking, a request is answered within a bounded number of steps."""
        self.peace()
        if not self.members(name):
            return
        served = self.lines[name].served
        self.requests(name, 1)
        for _ in range(40):
            self.the_gpus_are_looked_at()
            self.the_gpus_are_looked_at()
            self.look()
            for model in list(self.models.values()):
                if model.runtime != name or model.state is not S.READY:
                    self.progress(model)
            if self.lines[name].served > served:
                return
            self.now += 10
        raise AssertionError(f"{name} is not served: {[(m.name, m.state) for m in self.models.values()]}")

    @precondition(lambda self: hasattr(self, "models"))
    @rule()
    def whoever_is_always_asked_for_is_served_again_and_again(self) -> None:
        """Under constant load on all of them everybody has its turn, and nobody more often than `residence` allows."""
        self.peace()
        names = {model.runtime for model in self.models.values() if not model.retired}
        before = {name: self.lines[name].served for name in names}
        for _ in range(160):
            for name in sorted(names):
                if not self.lines[name].deadlines:
                    self.requests(name, 1)
            self.the_gpus_are_looked_at()
            self.the_gpus_are_looked_at()
            self.look()
            for model in list(self.models.values()):
                if model.state is S.READY:
                    model.busy, model.used = 1, self.now  # one answer follows another
                else:
                    self.progress(model)
            self.now += 5
            if all(self.lines[name].served > before[name] for name in names):
                return
        starved = [name for name in names if self.lines[name].served == before[name]]
        raise AssertionError(f"{starved} starved: {[(m.name, m.state) for m in self.models.values()]}")

    @precondition(lambda self: hasattr(self, "models"))
    @rule()
    def nothing_is_stuck(self) -> None:
        """With nobody asking, every state that is meant to pass has passed."""
        self.peace()
        for _ in range(12):
            self.the_gpus_are_looked_at()
            self.the_gpus_are_looked_at()
            self.look()
            for model in list(self.models.values()):
                self.progress(model)
            self.expire()
            self.now += 60
        passing = {S.STARTING, S.LOADING, S.DRAINING, S.STOPPING}
        assert not {model.state for model in self.models.values()} & passing
        assert not any(model.retired for model in self.models.values())
        assert all(not line.deadlines and not line.queue.waiting for line in self.lines.values())
        assert not self.swaps._gone, "somebody made room, and nobody knows for what"

    @precondition(lambda self: hasattr(self, "models"))
    @rule()
    def who_rests_is_woken_by_what_the_table_says(self) -> None:
        """A quarantine that time may end ends with its hour; every other rest ends when somebody asks."""
        self.peace()
        for model in list(self.models.values()):
            if model.state is S.BACKOFF and model.process and not model.retired:
                model.condemned = pauses.TRIAL
                self.progress(model)
        waiting = [model for model in self.models.values() if model.state is S.QUARANTINED]
        self.now += pauses.TRIAL
        self.the_gpus_are_looked_at()
        self.look()
        assert all(model.state is not S.QUARANTINED for model in waiting)

    @invariant()
    def memory_is_never_promised_twice(self) -> None:
        for index in (0, 1):
            mine = [one for one in getattr(self, "models", {}).values() if one.process and index in one.process.gpus]
            up = [one for one in mine if one.state in (S.STARTING, S.LOADING, S.READY) and not one.process.asleep]
            rest = [one.process.holds for one in mine if one not in up]
            assert sum(one.process.takes for one in up) + sum(rest) <= TOTAL

    @invariant()
    def every_waiter_is_counted(self) -> None:
        for line in getattr(self, "lines", {}).values():
            assert line.queue.waiting == len(line.deadlines)


# A failure is not made smaller: that takes minutes, and its steps can be read as they are.
World.TestCase.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)
TestWorld = World.TestCase
