"""One replica: what is wanted, what is seen, and the one task that brings the two together.

    stopped → starting → loading → ready → draining → stopping → stopped
                 └──────────┴────────┴── it ended by itself ──→ backoff → starting

Any exit that nobody asked for is a crash, exit code 0 included. The next start waits until the last tree is proved
empty, because its GPU memory is not free before.
"""

import secrets
import socket
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import trio

from appliance.config.schema import Runtime
from appliance.domain.engines import ENGINES
from appliance.domain.secret import Secret
from appliance.domain.status import ProbeAnswer, ReplicaState, ReplicaStatus
from appliance.domain.targets import Address, Endpoint, Lease
from appliance.errors import OperatorError
from appliance.fleet.table import FleetTable
from appliance.supervisor import command, environment, plan, scratch, spawn, states
from appliance.supervisor.tail import Tail, telling
from appliance.supervisor.tree import Member, Tags, members, reap_orphans, stop_tree

Probe = Callable[[Endpoint, str], Awaitable[ProbeAnswer]]
S = ReplicaState
_READINESS_POLL = 0.25
_PROBE_LIMIT = 10.0  # a probe that hangs must not hold up the start deadline
_STUBBORN_PAUSE = 5.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a replica lives.

    Attributes:
        instance: the id of the state directory; tags every process.
        state_dir: what engines compile is kept below it.
        socket: where its engine listens, if it can.
        log: its output.
        open_files: its soft and hard limit of open files; ours when absent.
    """

    instance: str
    state_dir: Path
    socket: Path
    log: Path
    open_files: tuple[int, int] | None = None


@dataclass(slots=True)
class _Life:
    """One process from its start to its end."""

    process: "subprocess.Popen[bytes]"
    endpoint: Endpoint
    tail: Tail
    tags: Tags
    started: float
    ready: float | None = None
    progressed: float = 0.0
    gave_up: str = ""
    seen: set[Member] = field(default_factory=set)

    @property
    def exit_code(self) -> int | None:
        """None while the top process runs."""
        return spawn.exit_code(self.process)


class Replica:
    """The owner of one replica's processes and of its row in the fleet table.

    Args:
        runtime: from the config.
        name: the replica's own name.
        fleet: gets the row.
        probe: asks an endpoint for its health.
        probe_interval: seconds between two probes of a ready replica.
        random: from 0 to 1, for the jitter.
    """

    def __init__(
        self,
        runtime: Runtime,
        name: str,
        *,
        fleet: FleetTable,
        probe: Probe,
        probe_interval: float,
        random: Callable[[], float],
    ) -> None:
        self.runtime = runtime
        self.name = name
        self.status = ReplicaStatus(runtime.name, name, runtime.engine, S.STOPPED, since=0.0)
        self.wanted = False
        self.resume_at = 0.0  # in backoff: when the next start is due
        self.last_start: float | None = None  # seconds that the last complete start took
        self._fleet = fleet
        self._probe = probe
        self._interval = probe_interval
        self._random = random
        self._health = runtime.health if runtime.engine == "command" else ENGINES[runtime.engine].probe
        self.leases: set[Lease] = set()  # exchanges under way
        self._failures = 0
        self._draining = False
        self._stops = 0
        self._stop = trio.Event()
        self._changed = trio.Event()
        fleet.set_replica(self.status)

    def start(self) -> None:
        """Want it running; its task does the rest."""
        if not self.wanted and not self._draining:
            self.wanted = True
            self._announce()

    def lend(self, endpoint: Endpoint) -> Lease:
        """Count one more exchange, until its lease is released."""
        lease = Lease(endpoint, self.name, self.leases.discard)
        self.leases.add(lease)
        return lease

    async def stop(self) -> None:
        """Want it stopped, and return when its whole tree is gone."""
        self.wanted = False
        self._stop.set()
        self._announce()
        before = self._stops
        while self.status.state is not S.STOPPED and self._stops == before:
            await self.changed()

    def drain(self) -> None:
        """No new work and no new start; a ready replica goes on with what it has."""
        self._draining = True
        if self.status.state is S.READY:
            self._write(S.DRAINING)
        else:
            self.wanted = False
            self._stop.set()
            self._announce()

    async def changed(self) -> None:
        """Return at the next change of anything that can be seen here."""
        await self._changed.wait()

    async def run(self, place: Place) -> None:
        """The owner task. Cancelling it ends the whole tree before it returns, within the grace and ten seconds."""
        self.status = replace(self.status, since=trio.current_time())
        self._announce()
        try:
            while True:
                while not self.wanted:
                    await self.changed()
                self._stop = trio.Event()
                while not self._stop.is_set():
                    await self._live(place)
                if self._draining:
                    self.wanted = False
                self._failures = 0
                self._stops += 1
                self._write(S.STOPPED, reason="")
        finally:
            if self.status.pid is None and S.STOPPED in states.TRANSITIONS[self.status.state]:
                self._write(S.STOPPED, reason="")

    async def _live(self, place: Place) -> None:
        """One life and, when it ended by itself, the pause after it."""
        reason = f"after {self.status.reason}" if self.status.state is S.BACKOFF else ""
        self._write(S.STARTING, reason=reason)
        try:
            life = self._launch(place)
        except OperatorError as error:
            await self._back_off(str(error), healthy=0.0)
            return
        try:
            await self._watch(life)
        finally:
            # No checkpoint between the launch and this block: nothing that was started can be forgotten.
            reason = await self._end(life)
            scratch.remove(place.socket)
        if self._stop.is_set():
            return
        healthy = trio.current_time() - life.ready if life.ready is not None else 0.0
        await self._back_off(reason, healthy)

    def _launch(self, place: Place) -> _Life:
        binary, needs = environment.find_binary(self.runtime)
        key = Secret(secrets.token_urlsafe(32))
        address = self._address(place)
        launch = command.build(
            self.runtime,
            binary,
            address,
            key,
            gpus=self.runtime.gpus,
            state_dir=place.state_dir,
            temporary=self._temporary(place),
        )
        tags = Tags(place.instance, self.name)
        tail = Tail(place.log, [key])
        inherited = environment.inherited({**needs, **launch.env, **tags.env()})
        process = spawn.spawn(launch.argv, inherited, place.log, open_files=place.open_files)
        now = trio.current_time()
        endpoint = Endpoint(address, key)
        self._write(S.STARTING, pid=process.pid, endpoint=endpoint)
        return _Life(process, endpoint, tail, tags, started=now, progressed=now)

    def _temporary(self, place: Place) -> Path | None:
        if self.runtime.engine != "vllm":
            return None
        try:
            return scratch.fresh(place.socket)
        except OSError as error:
            raise OperatorError(f"no temporary directory for {self.name}: {error}") from error

    def _address(self, place: Place) -> Address:
        try:
            if not command.wants_socket(self.runtime):
                return Address("http", "127.0.0.1", _free_port())
            place.socket.unlink(missing_ok=True)  # left by the last process; a bind to it would fail
        except OSError as error:
            raise OperatorError(f"no address for {self.name}: {error}") from error
        return Address("unix", str(place.socket))

    async def _watch(self, life: _Life) -> None:
        """Return when the process has ended, is to be stopped, or did not become ready in time."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(life.tail.follow, name=f"tail {self.name}")

            async def exited() -> None:
                await spawn.wait_exit(life.process)
                nursery.cancel_scope.cancel()

            async def asked() -> None:
                await self._stop.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(exited, name=f"exit of {self.name}")
            nursery.start_soon(asked, name=f"stop of {self.name}")
            if await self._become_ready(life):
                await self._stay_ready(life)
            nursery.cancel_scope.cancel()

    async def _become_ready(self, life: _Life) -> bool:
        while True:
            answer = await self._ask(life.endpoint)
            now = trio.current_time()
            if answer.ok:
                life.ready = now
                self.last_start = now - life.started
                self._write(S.READY, reason="", progress="", healthy=True)
                return True
            if answer.loading:
                life.progressed = now
            said = life.tail.lines()[-1:]
            progress = said[0].strip()[:200] if said else ""
            state = S.LOADING if answer.loading else self.status.state
            if (state, progress) != (self.status.state, self.status.progress):
                self._write(state, progress=progress)
            progressed = max(life.progressed, life.tail.last_change)
            why = plan.give_up(now, life.started, progressed, self.runtime.load_stall, self.runtime.load_limit)
            if why is not None:
                life.gave_up = why
                return False
            await trio.sleep(_READINESS_POLL)

    async def _stay_ready(self, life: _Life) -> None:
        limiter = trio.CapacityLimiter(1)
        while True:
            await trio.sleep(self._interval)
            answer = await self._ask(life.endpoint)
            reason = "" if answer.ok else f"its health probe fails: {answer.detail}"
            if (answer.ok, reason) != (self.status.healthy, self.status.reason):
                self._write(self.status.state, healthy=answer.ok, reason=reason)
            # Orphans of the engine become our children; remembered while alive, they can be collected when dead.
            reap_orphans(member for member in life.seen if member.pid != life.process.pid)
            life.seen = await trio.to_thread.run_sync(members, life.process.pid, life.tags, limiter=limiter)

    async def _ask(self, endpoint: Endpoint) -> ProbeAnswer:
        with trio.move_on_after(_PROBE_LIMIT):
            return await self._probe(endpoint, self._health)
        return ProbeAnswer(ok=False, detail=f"no answer within {_PROBE_LIMIT:g} s")

    async def _end(self, life: _Life) -> str:
        """Empty the tree, whatever ended the life; the reason in words."""
        code = life.exit_code
        life.tail.poll()
        said = telling(life.tail.lines())
        reason = ": ".join(part for part in (life.gave_up or spawn.exit_words(code), said) if part)
        crashed = code is not None and not self._stop.is_set() and not self._draining
        if not crashed:
            self._write(S.STOPPING, reason=life.gave_up)
        else:
            self._write(S.BACKOFF, reason=reason, progress="", endpoint=None)
            self.resume_at = trio.current_time()
        if self._draining:
            self._stop.set()
        # With its top process gone, there is nobody left to end the rest in good order.
        grace = 0.0 if code is not None else self.runtime.stop_grace
        while left := await stop_tree(life.process.pid, life.tags, grace, life.seen):
            pids = ", ".join(str(pid) for pid in left)
            self._write(self.status.state, reason=f"{reason}; processes do not end even when killed: {pids}")
            grace = 0.0
            await trio.sleep(_STUBBORN_PAUSE)
        spawn.collect(life.process)
        self._write(self.status.state, pid=None, endpoint=None, progress="")
        return reason

    async def _back_off(self, reason: str, healthy: float) -> None:
        self._failures = plan.failures_after_crash(self._failures, healthy, self.last_start or 0.0)
        pause = plan.backoff(self._failures, self._random())
        self.resume_at = trio.current_time() + pause
        self._write(S.BACKOFF, reason=reason, restarts=self.status.restarts + 1)
        with trio.move_on_after(pause):
            await self._stop.wait()

    def _write(self, state: ReplicaState, **facts: object) -> None:
        if state is not self.status.state:
            facts["since"] = trio.current_time()
            states.move(self.status.state, state)
        self.status = replace(self.status, state=state, **facts)  # type: ignore[arg-type]  # named facts of the row
        self._announce()

    def _announce(self) -> None:
        self._fleet.set_replica(self.status)
        self._changed.set()
        self._changed = trio.Event()


def _free_port() -> int:
    # Somebody may take it before the child does; the child then fails to bind, and the next start has another one.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
