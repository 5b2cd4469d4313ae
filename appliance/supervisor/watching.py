"""A process that runs: whether it becomes ready, whether it stays well, and its sleep in between."""

from collections.abc import Awaitable, Callable, Container, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import trio

from appliance.config.schema import Runtime
from appliance.domain.engines import ENGINES
from appliance.domain.status import Footprint, ProbeAnswer, Reading, ReplicaState, ReplicaStatus
from appliance.domain.targets import Endpoint, Lease
from appliance.supervisor import liveness, pauses, questions
from appliance.supervisor.life import Life
from appliance.supervisor.liveness import Pulse
from appliance.supervisor.progress import stage_of
from appliance.supervisor.readings import moved
from appliance.supervisor.sleep import is_asleep, put_to_sleep, wake
from appliance.supervisor.verdict import Cause

Probe = Callable[[Endpoint, str], Awaitable[ProbeAnswer]]
Send = Callable[[Endpoint, str, str, bytes], Awaitable[tuple[int, bytes]]]
S = ReplicaState
_READINESS_POLL = 0.25
_PROBE_LIMIT = 10.0  # a probe that hangs must not hold up the start deadline
_CANARY_LIMIT = 60.0
_CANARIES = 3


@dataclass(frozen=True, slots=True)
class Senses:
    """What a replica sees with and is driven by; handed in, because it is HTTP, chance and the date.

    Attributes:
        probe: asks for its health; must not raise.
        random: from 0 to 1, for the jitter of restarts.
        date: seconds since 1970.
        interval: seconds between two probes of a ready replica.
        send: endpoint, method, path and body to status and body; None where an engine is asked for its health only.
        held: bytes of GPU memory that some processes hold; None when that cannot be known.
        held_by_gpu: the same by the index of the GPU; without those of which that cannot be known.
        told: gets a replica's own numbers, or None when they did not come, and the seconds that asking took.
        weighed: gets what a replica's processes use, at each look.
        missed: told when a health probe of a ready or sleeping replica fails.
        made_room: told of each replica that goes because another one needs its room, and of that one.
    """

    probe: Probe
    random: Callable[[], float]
    date: Callable[[], float]
    interval: float
    send: Send | None = None
    held: Callable[[Container[int]], int | None] = lambda _: None
    held_by_gpu: Callable[[Container[int]], Mapping[int, int]] = lambda _: {}
    told: Callable[[ReplicaStatus, Reading | None, float], None] = lambda _row, _reading, _seconds: None
    weighed: Callable[[ReplicaStatus, Footprint], None] = lambda _row, _footprint: None
    missed: Callable[[ReplicaStatus], None] = lambda _: None
    made_room: Callable[[ReplicaStatus, str], None] = lambda _going, _coming: None


class Watched(Protocol):
    """The replica, as far as its process is concerned.

    Attributes:
        turned: set when it shall go to sleep or wake up.
        stopping: set when it shall end.
        proven: another process of ours has it ready, with so many slots: it need not show that in the midst of its
            work, where its first answer could take as long as all that it works on.
    """

    runtime: Runtime
    status: ReplicaStatus
    leases: set[Lease]
    last_start: float | None
    used: float
    proven: int | None
    turned: trio.Event
    stopping: trio.Event

    def write(self, state: ReplicaState, **facts: object) -> None:
        """Write the replica's row."""
        ...


class Watching:
    """Looks at one process until it has to end.

    Args:
        replica: whose process it is.
        life: the process.
        senses: what it is seen with.
    """

    def __init__(self, replica: Watched, life: Life, senses: Senses) -> None:
        self._replica = replica
        self._life = life
        self._senses = senses
        runtime = replica.runtime
        self._tells = senses.send is not None  # numbers of its own; a program that has none is asked once
        self._told = False  # it has some
        self._counted = 0.0  # of them, when they came last
        self._health = runtime.health if runtime.engine == "command" else ENGINES[runtime.engine].probe

    async def become_ready(self) -> bool:
        """Return True when it is ready, False when it has to end."""
        if (slots := self._replica.proven) is not None:
            self._replica.proven = None
            await trio.lowlevel.checkpoint()
            self._is_ready(slots)
            return True
        canaries = 0
        since = trio.current_time()
        while True:
            answer = await self._ask()
            now = trio.current_time()
            if self._life.gave_up:
                return False
            if answer.ok and await self._is_asleep():  # an earlier run has left it so: a request would hang
                if not await self._sleep():
                    return False
            elif answer.ok:
                why = await self._sing()
                if not why:
                    self._is_ready(await self._slots())
                    return True
                canaries += 1
                self._replica.write(S.LOADING, progress=f"no answer to its first request: {why}", stage="first answer")
                if canaries >= _CANARIES:
                    self._life.give_up(Cause.CANARY, f"healthy, and no answer to {canaries} requests: {why}")
                    return False
            else:
                self._show_loading(answer, now)
            progressed = max(self._life.progressed, self._life.tail.last_change, since)
            runtime, doing = self._replica.runtime, self._replica.status.stage
            too_long = pauses.give_up(now, since, progressed, runtime.load_stall, runtime.load_limit)
            if too_long is not None:
                stage = f", while {doing}" if doing else ""
                self._life.give_up(Cause.START_TIMEOUT, f"{too_long}{stage}")
                return False
            await trio.sleep(_READINESS_POLL)

    async def _slots(self) -> int:
        runtime = self._replica.runtime
        if self._senses.send is None:
            return runtime.slots or 0
        with trio.move_on_after(_PROBE_LIMIT):
            return await questions.slots(partial(self._senses.send, self._life.endpoint), runtime)
        return runtime.slots or 0

    def _is_ready(self, slots: int) -> None:
        now = trio.current_time()
        if self._life.ready is None and not self._replica.status.adopted:
            self._replica.last_start = now - self._life.started
        self._life.ready = now
        self._replica.used = now
        facts: dict[str, object] = dict.fromkeys(("reason", "progress", "stage", "cause", "advice"), "")
        self._replica.write(S.READY, percent=None, healthy=True, slots=slots, **facts)

    def _show_loading(self, answer: ProbeAnswer, now: float) -> None:
        if answer.loading:
            self._life.progressed = now
        lines = self._life.tail.lines()
        progress = lines[-1].strip()[:200] if lines else ""
        row, engine = self._replica.status, self._replica.runtime.engine
        seen = next(filter(None, (stage_of(engine, line) for line in reversed(lines[-20:]))), None)
        stage, percent = (seen.name, seen.percent) if seen else (row.stage, row.percent)
        state = S.LOADING if answer.loading else row.state
        if (row.state, row.progress, row.stage, row.percent) != (state, progress, stage, percent):
            self._replica.write(state, progress=progress, stage=stage, percent=percent)

    async def stay_ready(self) -> bool:
        """Return True when it slept and woke up, False when it has to end."""
        limits = liveness.Limits(self._replica.runtime.dead_limit, self._replica.runtime.stall_limit)
        seen = liveness.Seen(await self._count(ask=True), trio.current_time())
        while True:
            with trio.move_on_after(self._senses.interval):
                await self._replica.turned.wait()
            if self._replica.turned.is_set() and self._replica.leases:  # somebody came in that very moment
                self._replica.turned = trio.Event()
            if self._replica.turned.is_set():
                return await self._nap()
            answer = await self._ask()
            busy = bool(self._replica.leases)
            tokens, now = await self._count(ask=answer.ok or busy), trio.current_time()
            refused = answer.loading  # it says itself that it cannot serve
            self._missed(answer)
            seen = liveness.look(seen, now, healthy=answer.ok, busy=busy, tokens=tokens)
            pulse = liveness.pulse(seen, now, limits, busy=busy, refused=refused)
            if pulse is Pulse.STALLED:
                still = f"{len(self._replica.leases)} requests run and no token has moved for {now - seen.moved:.0f} s"
                self._life.give_up(Cause.STALLED, still)
                return False
            if pulse is Pulse.DEAD:
                self._life.give_up(Cause.ENGINE_DEAD, f"its health probe fails and nothing moves: {answer.detail}")
                return False
            self._show_health(answer, moving=busy and now - seen.moved < limits.dead)
            await self._weigh()

    async def _weigh(self) -> None:
        await self._life.look_around()
        held = self._senses.held_by_gpu({member.pid for member in self._life.tree.seen})
        self._senses.weighed(self._replica.status, replace(self._life.footprint, gpu_memory=held))

    def _missed(self, answer: ProbeAnswer) -> None:
        if not answer.ok:
            self._senses.missed(self._replica.status)

    def _show_health(self, answer: ProbeAnswer, *, moving: bool) -> None:
        reason = "" if answer.ok else f"its health probe fails: {answer.detail}"
        if reason and moving:
            reason += ", while its tokens move: it is busy"
        healthy = answer.ok or moving
        if (healthy, reason) != (self._replica.status.healthy, self._replica.status.reason):
            self._replica.write(self._replica.status.state, healthy=healthy, reason=reason)

    async def _nap(self) -> bool:
        """Sleep until woken. True to go on with becoming ready, False when it has to end: a cold start follows."""
        self._replica.turned = trio.Event()
        level = self._replica.runtime.sleep
        if self._senses.send is None or level == 0:
            return True
        send = partial(self._senses.send, self._life.endpoint)

        async def held() -> int | None:
            await self._life.look_around()
            return self._senses.held({member.pid for member in self._life.tree.seen})

        self._replica.write(S.DRAINING)
        asleep = await put_to_sleep(level, send, held)
        if not asleep.ok:  # an end is as good, only slower to come back from
            self._replica.write(S.STOPPING, reason=f"it could not be put to sleep: {asleep.reason}")
            self._replica.stopping.set()
            return False
        return await self._sleep()

    async def _is_asleep(self) -> bool:
        if self._senses.send is None or not (self._replica.status.adopted and self._replica.runtime.sleep):
            return False
        with trio.move_on_after(_PROBE_LIMIT):
            return await is_asleep(partial(self._senses.send, self._life.endpoint))
        return False

    async def _sleep(self) -> bool:
        """It sleeps: wait for whoever wakes it. True when it is awake, False when it has to end."""
        level = self._replica.runtime.sleep
        if self._senses.send is None or level == 0:
            return True
        send = partial(self._senses.send, self._life.endpoint)
        self._replica.write(S.SLEEPING, reason="")
        if not await self._stay_asleep():
            return False
        self._replica.turned = trio.Event()
        self._replica.write(S.LOADING, stage="waking up")
        awake = await wake(level, send, partial(questions.canary, send, self._replica.runtime))
        if not awake.ok:
            self._life.give_up(Cause.ENGINE_DEAD, f"it did not wake up: {awake.reason}")
            return False
        return True

    async def _stay_asleep(self) -> bool:
        """Return True when it shall wake up, False when it has to end: a sleeper answers its health probe as well."""
        limits = liveness.Limits(self._replica.runtime.dead_limit)
        seen = liveness.Seen(0.0, trio.current_time())
        while True:
            with trio.move_on_after(self._senses.interval):
                await self._replica.turned.wait()
                return True
            answer, now = await self._ask(), trio.current_time()
            self._missed(answer)
            seen = liveness.look(seen, now, healthy=answer.ok, busy=False, tokens=0.0)
            if liveness.pulse(seen, now, limits, busy=False, refused=answer.loading) is Pulse.DEAD:
                self._life.give_up(Cause.ENGINE_DEAD, f"its health probe fails while it sleeps: {answer.detail}")
                return False
            await self._weigh()

    async def _ask(self) -> ProbeAnswer:
        if why := await self._life.not_ours():
            if "not ours" in why:
                self._life.give_up(Cause.PORT_RACE, why)
            return ProbeAnswer(ok=False, detail=why)
        with trio.move_on_after(_PROBE_LIMIT):
            return await self._senses.probe(self._life.endpoint, self._health)
        return ProbeAnswer(ok=False, detail=f"no answer within {_PROBE_LIMIT:g} s")

    async def _sing(self) -> str:
        """The smallest real request: "" when it was answered, or is not asked for."""
        runtime = self._replica.runtime
        wanted = runtime.engine != "command" if runtime.canary is None else runtime.canary
        if self._senses.send is None or not wanted:
            return ""
        with trio.move_on_after(_CANARY_LIMIT):
            return await questions.canary(partial(self._senses.send, self._life.endpoint), self._replica.runtime)
        return f"nothing within {_CANARY_LIMIT:g} s"

    async def _count(self, *, ask: bool) -> float:
        """What has moved so far: the engine's own count, where it tells, and what arrived here."""
        if self._tells:
            await self._take_numbers(ask=ask)
        return self._counted + sum(lease.relayed for lease in self._replica.leases) + len(self._replica.leases)

    async def _take_numbers(self, *, ask: bool) -> None:
        """Its own numbers. It may have no time for them, and be well; one that does not even answer its health probe
        need not be asked.
        """
        asked, reading = trio.current_time(), None
        if ask and self._senses.send is not None:
            with trio.move_on_after(_PROBE_LIMIT):
                reading = await questions.reading(partial(self._senses.send, self._life.endpoint))
        if reading is not None and not reading:
            if not self._told:
                self._tells = False
                return
            reading = None  # it has them, so that was no answer
        self._told = self._told or reading is not None
        self._senses.told(self._replica.status, reading, trio.current_time() - asked)
        if reading is not None:
            self._counted = moved(reading) or 0.0
