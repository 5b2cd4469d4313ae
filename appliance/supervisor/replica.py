"""One replica: the one task that owns its process, and its row in the fleet table.

The supervisor's plan says when it may start; everything between a start and the proof that its tree is gone happens
here. Any exit that nobody asked for is a crash, exit code 0 included. The next start waits until the last tree is
proved empty, because its GPU memory is not free before.
"""

from collections.abc import Callable
from dataclasses import replace
from math import inf

import trio

from appliance.config.schema import Runtime
from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.domain.targets import Lease
from appliance.errors import OperatorError
from appliance.fleet.table import FleetTable
from appliance.supervisor import life as lives
from appliance.supervisor import pauses, records, refusals, states
from appliance.supervisor.grounds import Ground, ground_of
from appliance.supervisor.life import Life, Place
from appliance.supervisor.tail import Tail
from appliance.supervisor.verdict import Cause, Retry, Verdict
from appliance.supervisor.watching import Senses, Watching

S = ReplicaState
_ENOUGH = 75.0  # seconds after which whoever waits for a stop is told that it cannot be had


class Replica:
    """The owner of one replica's processes and of its row in the fleet table.

    Args:
        runtime: from the config.
        name: the replica's own name.
        fleet: gets the row.
        senses: see there.

    Attributes:
        wanted: it shall run even when nobody asks; `owed`: see `ReplicaStatus`.
        urgent: somebody has ordered that, and its last start is still to come.
        resume_at: in backoff or quarantine, when the next start is due; inf for never by itself.
        last_start: seconds that the last complete start took.
        used: when its last exchange ended, or it became ready.
        leases: exchanges under way.
        life: its process, from the start to the proof that its tree is gone.
        tail: of the output of its last process; None before the first.
        stops: how often it was told to stop; whoever waits for it has to know.
        after: why it failed last, in words; "" once it is ready or told to end.
        drain_until: while it drains, when what it still does is ended; None when it drains in order to sleep.
        to_sleep: it drains in order to sleep, and not to end.
        permit: its GPUs, and the memory of the smallest, when it was told to start and its task has not done so yet.
        hopeless: of a blocked one, that time alone does not help.
        ground: see `grounds.Standing`.
        unloaded: an operator has ended it, so nothing but a request or an order starts it again.
        elsewhere: exchanges of the process that we took over from; it may not make room while they last.
        proven: what it is taken over from had it ready, with so many slots; None otherwise.
    """

    def __init__(self, runtime: Runtime, name: str, *, fleet: FleetTable, senses: Senses) -> None:
        self.runtime, self.name = runtime, name
        self.owed = runtime.start == "boot"
        self.status = ReplicaStatus(runtime.name, name, runtime.engine, S.STOPPED, since=0.0, owed=self.owed)
        self.wanted = self.urgent = False
        self.resume_at = 0.0
        self.last_start: float | None = None
        self.used = 0.0
        self.leases: set[Lease] = set()
        self.life: Life | None = None
        self.tail: Tail | None = None
        self.failures = pauses.Record()
        self.stops, self.after = 0, ""
        self.drain_until: float | None = None
        self.to_sleep = self.hopeless = self.unloaded = False
        self.ground: Ground | None = None
        self.elsewhere = 0
        self.proven: int | None = None
        self._fleet, self._senses = fleet, senses
        self._closing = False  # the appliance stops: no new start
        self._pids: set[int] = set()
        self.permit: tuple[tuple[int, ...] | None, int | None] | None = None
        self._adopted: Life | None = None
        self.stopping, self.condemned = trio.Event(), trio.Event()
        self.turned = trio.Event()  # asked to sleep or to wake
        self._changed, self._retired = trio.Event(), trio.Event()
        self._looks = trio.CapacityLimiter(1)
        fleet.set_replica(self.status)

    def want(self) -> None:
        """It shall run; out of quarantine and without a pause as well, because an operator or a change asks."""
        if self._closing:
            return
        self.wanted, self.urgent, self.unloaded = True, True, False
        if self.status.state is S.QUARANTINED:
            self.failures, self.resume_at = pauses.Record(), trio.current_time()
            self.write(S.STOPPED)
        elif self.status.state is S.BACKOFF and self.life is None:
            self.resume_at = trio.current_time()
        self._announce()

    def unwant(self) -> None:
        """An operator wants it ended: only a request or an order starts it again; whoever waits for it is told."""
        self.wanted = self.owed = False
        self.unloaded = True
        self.stops += 1
        self.write(self.status.state)

    def go(self, gpus: tuple[int, ...] | None, total: int | None = None) -> None:
        """May start now, on these GPUs; None leaves that to the engine. `total` is the memory of the smallest."""
        if self._closing:
            return
        self.permit = (gpus, total)
        self._announce()

    @property
    def can_sleep(self) -> bool:
        """It is vLLM, told to sleep instead of ending, and can be asked to."""
        return self.runtime.engine == "vllm" and self.runtime.sleep > 0 and self._senses.send is not None

    def block(self, reason: str, *, hopeless: bool = False) -> None:
        """Others hold the memory that it needs; `hopeless` when time alone does not help."""
        self.hopeless = hopeless
        if self.life is None and self.status.state in (S.STOPPED, S.BACKOFF, S.BLOCKED):
            advice = "Free the memory, or give this model another GPU or less to hold."
            if (self.status.state, self.status.reason) != (S.BLOCKED, reason):
                self.write(S.BLOCKED, reason=reason, cause=str(Cause.VRAM_BUSY), advice=advice)
        else:
            self.explain_wait(reason)

    def explain_wait(self, reason: str, *, rests: bool = False) -> None:
        """Why it does not start, or wake up, yet; where it rests, a request would bring it, and it is not owed."""
        self.owed = self.owed and not rests
        if (self.status.reason, self.status.owed) == (reason, self.owed):
            return
        if self.status.state is S.SLEEPING:
            self.write(S.SLEEPING, reason=reason)
        elif self.life is None and self.status.state in (S.STOPPED, S.BLOCKED, S.BACKOFF):
            self.write(S.STOPPED, reason=reason, cause="", advice="")

    def reset(self, reason: str) -> None:
        """Its time in quarantine, in backoff or kept out is over. Its failures count on."""
        if self.life is None and self.permit is None and S.STOPPED in states.LIFE[self.status.state].exits:
            self.wanted = self.owed = self.status.state is S.QUARANTINED and self.runtime.start == "boot"
            self.write(S.STOPPED, reason=reason, cause="", advice="")

    def lend(self) -> Lease | None:
        """Count one more exchange until its lease is released; None unless it is ready and stays so.

        What was told to end is ready until its task has heard of it: an exchange that came in between would be cut off.
        """
        endpoint = self.status.endpoint
        if self.status.state is not S.READY or endpoint is None or self.stopping.is_set() or self.condemned.is_set():
            return None
        lease = Lease(endpoint, self.name, self._returned)
        self.leases.add(lease)
        return lease

    def _returned(self, lease: Lease) -> None:
        self.leases.discard(lease)
        if not self.leases:
            self.used = trio.current_time()
            if self.status.state is not S.READY or self._busy_matters:
                self._busy_matters = False  # whoever still waits asks again
                self._announce()

    _busy_matters = False  # somebody waits for this one to become idle

    def tell_when_idle(self) -> None:
        """Announce the end of the last exchange: somebody waits for the room."""
        self._busy_matters = True

    async def stop(self, reason: str = "") -> bool:
        """Want it stopped; whether its whole tree is gone, which is told after 75 s at the latest.

        Whoever waits for it to become ready is told.
        """
        self.unwant()
        self.begin_stop(reason)
        with trio.move_on_after(self.runtime.stop_grace + _ENOUGH):
            while self.life is not None:
                await self.changed()
        return self.life is None

    def begin_stop(self, reason: str = "") -> None:
        """Want it stopped, without waiting. What it still answers ends with an error."""
        self.wanted = self.urgent = self.owed = False
        self.permit = None
        for lease in list(self.leases):
            lease.cut(refusals.ended(self.status, reason))
        self.failures, self.after = pauses.Record(), ""
        self.stopping.set()
        if self.life is None:
            if S.STOPPED in states.LIFE[self.status.state].exits:
                self.write(S.STOPPED, reason=reason, cause="", advice="")
        elif reason:
            self.write(self.status.state, reason=reason)
        self._announce()

    def begin_drain(self, limit: float, reason: str = "", *, to_sleep: bool = False) -> None:
        """No new work; a ready replica goes on with what it has.

        Args:
            limit: seconds after which that is ended.
            reason: in words.
            to_sleep: it shall sleep then, and not end.
        """
        self.wanted = self.owed = False
        if self.status.state not in (S.READY, S.DRAINING):
            return
        end = trio.current_time() + limit
        self.drain_until = end if self.drain_until is None else min(end, self.drain_until)
        self.to_sleep = to_sleep
        self.write(S.DRAINING, reason=reason or self.status.reason)

    def close(self) -> None:
        """The appliance stops: `begin_drain`, and no new start whatever happens."""
        self._closing = True
        if self.status.state is S.READY:
            self.begin_drain(inf)  # whoever stops the appliance has a limit for all of it
        elif self.status.state is not S.DRAINING:
            self.begin_stop()

    def retire(self) -> None:
        """Its task ends: there is no such replica in the configuration any more. Stop it first."""
        self._closing = True
        self._retired.set()
        self._changed.set()

    def condemn(self, words: str) -> None:
        """Its GPU is not to be trusted any more: it has to end, and may start on another one."""
        if self.life is not None and not self.condemned.is_set():
            self.life.give_up(Cause.GPU_FAULT, words)
            self.condemned.set()

    def pids(self) -> set[int]:
        """The processes that were seen to belong to its present life, else to its last: a driver forgets them late."""
        if self.life is not None:
            self._pids = {member.pid for member in self.life.tree.seen} | {self.life.process.pid}
        return self._pids

    def turn(self) -> None:
        """Go to sleep, or wake up."""
        self.drain_until, self.to_sleep = None, False
        self.turned.set()

    async def changed(self) -> None:
        """Return at the next change of anything that can be seen here."""
        await self._changed.wait()

    def adopt(self, life: Life) -> None:
        """Take over a process of an earlier run; before `run`, so that nobody starts another one beside it."""
        self._adopted = self.life = life
        self.write(S.STARTING, adopted=True, pid=life.process.pid, endpoint=life.endpoint, gpus=life.gpus or ())

    async def run(self, place: Place, *, leave: Callable[[], bool] = lambda: False) -> None:
        """The owner task. Cancelling it ends the whole tree before it returns, within the grace and ten seconds.

        Args:
            place: where it lives.
            leave: whether another process goes on with all of it when this task is cancelled; the row stays, too.
        """
        self.status = replace(self.status, since=trio.current_time())
        self._announce()
        try:
            if self._adopted is not None:
                await self._live(place, self._adopted, leave)
            while not self._retired.is_set():
                if self.permit is None:
                    await self.changed()
                    continue
                self.ground = await ground_of(self.runtime, self._looks)
                if self.permit is not None:  # nobody has changed his mind meanwhile
                    await self._start(place, leave)
        finally:
            if self.life is None and not leave() and S.STOPPED in states.LIFE[self.status.state].exits:
                self.write(S.STOPPED, reason="", cause="", advice="")

    async def _start(self, place: Place, leave: Callable[[], bool]) -> None:
        gpus, total = self.permit or (None, None)
        self.permit = None
        reason = f"after {self.after}" if self.after else ""
        self.write(S.STARTING, reason=reason, adopted=False, starts=self.status.starts + 1, gpus=gpus or ())
        try:
            life = lives.begin(self.runtime, self.name, place, gpus, trio.current_time(), total)
        except OperatorError as error:
            verdict = Verdict(Cause.CONFIG, str(error), "Correct the configuration or install it.", Retry.NEVER)
            self._failed(verdict, 0.0)
            return
        # No checkpoint between the launch and this call's own `finally`: nothing that was started can be forgotten.
        await self._live(place, life, leave)

    async def _live(self, place: Place, life: Life, leave: Callable[[], bool]) -> None:
        """One life, and what follows from its end."""
        self.life, self.tail = life, life.tail
        self.drain_until, self.to_sleep = None, False
        self.wanted = True  # what was started is kept until something says otherwise
        self.unloaded = False
        self.permit = None
        if life is not self._adopted:  # which may have been told something already
            self.stopping, self.turned, self.condemned = trio.Event(), trio.Event(), trio.Event()
        self.write(self.status.state, pid=life.process.pid, endpoint=life.endpoint)
        self._save(place, life)
        verdict = None
        try:
            await self._watch(place, life)
        finally:
            if leave():  # whatever has become of it, another process looks after it
                life.process.release()
                self.life = None
            else:
                verdict = await self._end(place, life)
        if verdict is None:
            return
        if self.stopping.is_set() or self._closing:
            self.wanted = False
            self.write(S.STOPPED, reason=self.status.reason if self.status.state is S.STOPPING else "", gpus=())
            return
        healthy = trio.current_time() - life.ready if life.ready is not None else 0.0
        self._failed(verdict, healthy)

    async def _watch(self, place: Place, life: Life) -> None:
        """Return when the process has ended, is to be stopped, or has to be ended."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(life.tail.follow, name=f"tail {self.name}")

            async def exited() -> None:
                await life.process.wait()
                nursery.cancel_scope.cancel()

            async def told(event: trio.Event) -> None:
                await event.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(exited, name=f"exit of {self.name}")
            nursery.start_soon(told, self.stopping, name=f"stop of {self.name}")
            nursery.start_soon(told, self.condemned, name=f"fault of {self.name}")
            watching = Watching(self, life, self._senses)
            while await watching.become_ready():
                self._save(place, life)
                if not await watching.stay_ready():
                    break
            nursery.cancel_scope.cancel()

    async def _end(self, place: Place, life: Life) -> Verdict:
        """Empty the tree, whatever ended the life; why it ended."""
        code = life.process.exit_code()
        verdict = life.verdict()
        crashed = life.process.ended and not self.stopping.is_set() and not self._closing
        if crashed:
            self.resume_at = trio.current_time()
            self.write(S.BACKOFF, reason=verdict.words, progress="", endpoint=None)
        else:
            self.write(S.STOPPING, reason=life.gave_up or self.status.reason)
        words = verdict.words if crashed else self.status.reason

        def stubborn(pids: list[int]) -> None:
            listed = ", ".join(str(pid) for pid in pids)
            self.write(self.status.state, reason=f"{words}; processes do not end even when killed: {listed}")

        # With its top process gone, there is nobody left to end the rest in good order.
        await life.end(0.0 if code is not None or life.process.ended else self.runtime.stop_grace, stubborn)
        if place.run_dir is not None:
            records.forget(place.run_dir, self.name)
        self.pids()
        self.life = None
        self.write(self.status.state, pid=None, endpoint=None, progress="", stage="", percent=None)
        return verdict

    def _failed(self, verdict: Verdict, healthy: float) -> None:
        now = trio.current_time()
        self.urgent, self.owed, self.after = False, True, verdict.words
        self.failures = self.failures.after(now, verdict.cause, healthy, self.last_start or 0.0)
        pause = pauses.next_start(self.failures, verdict.retry, self._senses.random())
        facts = {"reason": verdict.words, "cause": str(verdict.cause), "advice": verdict.advice}
        self.resume_at = now + (pause or 0.0)
        self.write(S.BACKOFF, restarts=self.status.restarts + 1, **facts)
        if pause is None:
            self.wanted = False
            self.resume_at = now + pauses.trial(verdict.retry)
            self.write(S.QUARANTINED, advice=verdict.advice_in_quarantine)

    def _save(self, place: Place, life: Life) -> None:
        lives.save(life, self.runtime, self.name, place, date=self._senses.date(), learned=self.last_start or 0.0)

    def write(self, state: ReplicaState, **facts: object) -> None:
        """Write the row: a state that the table allows, and what else is to be known."""
        if state is not self.status.state:
            facts["since"] = trio.current_time()
            states.move(self.status.state, state)
        if state is S.READY:
            self.urgent, self.owed, self.after = False, False, ""
        self.status = replace(self.status, state=state, owed=self.owed, **facts)  # type: ignore[arg-type]  # named facts of the row
        self._announce()

    def _announce(self) -> None:
        if not self._retired.is_set():  # an exchange may outlive it, and its name may be another one's by then
            self._fleet.set_replica(self.status)
        self._changed.set()
        self._changed = trio.Event()
