"""All replicas of this box, behind `domain.targets.Runtime`: start once, wait in bounds, stop, leave nothing.

One task looks at everything whenever anything has changed and carries out what `plan` says; each replica's own task
does the rest.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path

import trio

from appliance.config import schema
from appliance.domain.gpus import Gpu
from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.domain.targets import Lease
from appliance.errors import GatewayError
from appliance.fleet.table import FleetTable
from appliance.supervisor import cgroup, grounds
from appliance.supervisor.adoption import adopt, hold
from appliance.supervisor.box import Action, Plan, View
from appliance.supervisor.explain import log_path, replica_names, share_of
from appliance.supervisor.lending import Lending
from appliance.supervisor.life import Life, Place
from appliance.supervisor.memory import GpuMemory, Gpus
from appliance.supervisor.orphans import collect_orphans, none_left
from appliance.supervisor.plan import plan
from appliance.supervisor.queues import Queue
from appliance.supervisor.renewal import Renewal
from appliance.supervisor.replica import Replica
from appliance.supervisor.socket_paths import socket_paths, sweep
from appliance.supervisor.state_dir import RUN, instance_of, locked, sign
from appliance.supervisor.succession import Succession
from appliance.supervisor.swaps import Swaps
from appliance.supervisor.tree import become_subreaper
from appliance.supervisor.views import view_of, wish_of
from appliance.supervisor.watching import Senses

_LOG = logging.getLogger("appliance.supervisor")
_LONGEST_PAUSE = 5.0  # seconds between two looks even when nothing seems to have changed
_GPU_PAUSE = 1.0
S = ReplicaState


@dataclass(frozen=True, slots=True)
class _House:
    """Where replicas live while the supervisor runs."""

    nursery: trio.Nursery
    place: Callable[[str], Place]


class Supervisor:
    """Owns every model server process of this box.

    Args:
        runtimes: from the config.
        state_dir: for logs, sockets and the instance's id; created with mode 0700.
        fleet: gets a row for each replica.
        senses: what replicas see with.
        load_wait: seconds that a request may wait for a model.
        load_queue: requests that may wait for one model.
        residence: seconds that a model stays loaded at least before it makes room for another.
        drain: seconds that exchanges may go on when their replica has to end.
        make_room: the same when it has to end for another model only.
        gpus: reads the GPUs; must not hang. None on a box without any.
        open_files: soft and hard limit of open files for the processes; ours when absent.

    Attributes:
        lock: of the state directory, open, while it runs.
        open_files: as given.
        renewal: a new configuration on its way.
        frozen: nothing is started or stopped, because another process is about to take all of this over.
        gone: it has.
    """

    def __init__(
        self,
        runtimes: Sequence[schema.Runtime],
        *,
        state_dir: Path,
        fleet: FleetTable,
        senses: Senses,
        load_wait: float,
        load_queue: int,
        residence: float = 30.0,
        drain: float = 30.0,
        make_room: float = inf,
        gpus: Gpus | None = None,
        open_files: tuple[int, int] | None = None,
    ) -> None:
        self.open_files = open_files
        self._state_dir = state_dir
        self._residence = residence
        self._room_limit = make_room
        self._fleet = fleet
        self._memory = GpuMemory(gpus, state_dir)
        self._senses = replace(senses, held=self._memory.held, held_by_gpu=self._memory.held_by_gpu)
        self.lock = -1
        self.frozen = self.gone = False
        self._left = trio.Event()
        self._changed = trio.Event()
        self._swaps = Swaps()
        self._moved = trio.Event()  # any row was written
        self._house: _House | None = None  # while it runs
        self.runtimes: dict[str, schema.Runtime] = {}
        self.replicas: dict[str, Replica] = {}
        self._lending = Lending(
            self.replicas, self.members, moved=self.moved, asked=self.poke, load_wait=load_wait, load_queue=load_queue
        )
        self.seen_to_end = self._lending.seen_to_end
        self.renewal = Renewal(self, self._lending.replacing, drain)
        fleet.watch_replicas(self._row_written)
        for runtime in runtimes:
            self._add(runtime)

    def _add(self, runtime: schema.Runtime) -> list[Replica]:
        self.runtimes[runtime.name] = runtime
        self._lending.queues.setdefault(runtime.name, Queue())
        added = [Replica(runtime, name, fleet=self._fleet, senses=self._senses) for name in replica_names(runtime)]
        for replica in added:
            self.replicas[replica.name] = replica
            replica.wanted = runtime.start == "boot"
            self._note_need(replica)
        return added

    async def run(
        self, succession: Succession | None = None, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Look after the replicas until cancelled; then no process of theirs is left, unless `let_go` was called.

        Args:
            succession: what is taken over from a process that still runs; nothing is done before it may.
            task_status: started when everything is in our hands.

        Raises:
            OperatorError: the state directory cannot be used, or another appliance uses it, or what is to be taken
                over cannot be.
        """
        self.gone = self.frozen = succession is not None  # until it is ours, it is another one's
        with (
            locked(self._state_dir, succession.lock if succession else None) as self.lock,
            socket_paths(self._state_dir, lambda: self.gone) as socket_of,
            none_left(),
        ):
            become_subreaper()
            self._memory.load()
            for replica in self.replicas.values():
                self._note_need(replica)
            instance = instance_of(self._state_dir)
            home = cgroup.home()

            def place(name: str) -> Place:
                log, run_dir = log_path(self._state_dir, name), self._state_dir / RUN
                return Place(instance, self._state_dir, socket_of(name), log, run_dir, self.open_files, home)

            adopted = await self._take_over(succession, instance, place)
            async with trio.open_nursery() as nursery:
                self._house = _House(nursery, place)
                if succession is not None:
                    task_status.started()
                    await succession.go.wait()
                    succession.prove(self.replicas)
                for name, life in adopted.items():
                    self.replicas[name].adopt(life)
                for replica in self.replicas.values():
                    self._begin(self._house, replica)
                if self._memory.watched:
                    nursery.start_soon(self._watch_gpus, name="gpus")
                nursery.start_soon(self._reconcile, name="plan")
                nursery.start_soon(grounds.watch, self.replicas, name="grounds")
                nursery.start_soon(collect_orphans, self._pids, name="orphans")
                if succession is None:
                    task_status.started()
                await self._left.wait()
                nursery.cancel_scope.cancel()

    async def _take_over(
        self, succession: Succession | None, instance: str, place: Callable[[str], Place]
    ) -> dict[str, Life]:
        run = self._state_dir / RUN
        if succession is not None:
            for name in self.replicas.keys() & set(succession.unloaded):
                self.replicas[name].unwant()
            return await hold(self.replicas, run, succession.running, place)
        adopted = await adopt(self.replicas, run, instance, place)
        sweep(self._state_dir, {life.endpoint.address.host for life in adopted.values()})
        return adopted

    def ours(self) -> None:
        """What was taken over has nobody else any more: from here on we plan, and end it when we end."""
        self.gone = self.frozen = False
        sign(self.lock)
        self.poke()

    def let_go(self) -> None:
        """Another process has taken all of this over: end without ending anything.

        The rows stay, and what is ready is still lent to requests that are here already; who would have to wait is
        sent to the other one.
        """
        self.gone = self.frozen = self._lending.handed = True
        self._left.set()
        self.stir()

    def _pids(self) -> set[int]:
        return {replica.life.process.pid for replica in self.replicas.values() if replica.life is not None}

    def _begin(self, house: _House, replica: Replica) -> None:
        owner = partial(replica.run, house.place(replica.name), leave=lambda: self.gone)
        house.nursery.start_soon(owner, name=f"replica {replica.name}")

    # ── looking and acting ──

    def _row_written(self, before: ReplicaStatus | None, after: ReplicaStatus) -> None:
        self.stir()
        if before is not None and (before.state, before.pid) != (after.state, after.pid):
            self._give_back(after.replica, self._swaps.settle(after))
            if after.state is S.READY:
                self._lending.queues[after.runtime].served(trio.current_time())

    async def moved(self) -> None:
        """Return when any row has been written."""
        await self._moved.wait()

    def poke(self) -> None:
        """Look again: something has changed that no row shows."""
        self._changed.set()

    async def _reconcile(self) -> None:
        while True:
            self._changed = trio.Event()
            made = self._look()
            now = trio.current_time()
            for action in made.actions:
                self._act(action)
            pause = _LONGEST_PAUSE if made.look_again is None else max(0.0, made.look_again - now)
            with trio.move_on_after(min(pause, _LONGEST_PAUSE)):
                await self._changed.wait()
            await trio.lowlevel.checkpoint()

    def _look(self) -> Plan:
        if self._lending.closing or self.frozen or self._memory.unseen:
            return Plan()  # nothing starts before the GPUs have been looked at
        views = self.views()
        if forsaken := self._swaps.forsaken({view.name: view for view in views}, self._lending.replacing):
            for coming, gone in forsaken.items():
                self._give_back(coming, gone)
            views = self.views()
        now, seen = trio.current_time(), self._memory.looked
        return plan(views, self.gpus(), now, residence=self._residence, seen=seen)

    def views(self) -> list[View]:
        """Every replica as the plan sees it."""
        now = trio.current_time()
        found = []
        for replica in self.replicas.values():
            asleep = replica.status.state is S.SLEEPING
            held = self._memory.most(replica.pids()) if asleep else 0
            found.append(view_of(replica, self._lending.queues[replica.runtime.name], now, held))
        return found

    def wishes(self, runtimes: Sequence[schema.Runtime]) -> dict[str, list[View]]:
        """The replicas of some runtimes as if somebody asked for them, by runtime."""
        return {
            runtime.name: [wish_of(runtime, name, self._memory.need(runtime)) for name in replica_names(runtime)]
            for runtime in runtimes
        }

    def gpus(self) -> tuple[Gpu, ...] | None:
        """The GPUs as the plan sees them; None on a box without."""
        return self._memory.gpus({pid for replica in self.replicas.values() for pid in replica.pids()})

    def _act(self, action: Action) -> None:
        replica = self.replicas[action.replica]
        if action.making_room_for and self._swaps.begin(action.making_room_for, action.replica):
            self._senses.made_room(replica.status, action.making_room_for)
        match action.kind:
            case "start":
                replica.go(*self._placed(replica, action.gpus))
            case "wake" | "sleep":
                replica.turn()
            case "condemn":
                replica.condemn(action.reason)
            case "stop":
                replica.begin_stop(action.reason)
            case "reset":
                replica.reset(action.reason)
            case "drain":
                replica.begin_drain(self._room_limit, action.reason, to_sleep=action.to_sleep)
                replica.tell_when_idle()
            case "block":
                replica.block(action.reason, hopeless=action.hopeless)
            case "wait":
                self._wait(replica, action)

    def _wait(self, replica: Replica, action: Action) -> None:
        replica.explain_wait(action.reason, rests=action.rests)
        for other in self.replicas.values():
            other.tell_when_idle()

    def _placed(self, replica: Replica, gpus: tuple[int, ...]) -> tuple[tuple[int, ...] | None, int | None]:
        if self._memory.gpus() is None:
            return share_of(replica.runtime, replica.name), None
        return gpus, self._memory.total(gpus)

    def _give_back(self, coming: str, gone: Sequence[str]) -> None:
        """What did not come gives the room back to those who made it, but for what an operator has ended since."""
        back = [name for name in gone if name in self.replicas and not self.replicas[name].unloaded]
        if back:
            _LOG.warning("%s did not come: %s take their place again", coming, ", ".join(back))
        if back and (replica := self.replicas.get(coming)) is not None:
            replica.wanted = replica.wanted and replica.runtime.start == "boot"
        for name in back:
            self.replicas[name].want()

    async def _watch_gpus(self) -> None:
        while True:
            await self._memory.look()
            for replica in [one for one in self.replicas.values() if one.status.state is S.READY]:
                if await self._memory.learn(replica.runtime, self._memory.most(replica.pids())):
                    self._note_need(replica)
            self._changed.set()
            pending = any(queue.waiting for queue in self._lending.queues.values())
            pending = pending or any(r.status.state is S.BLOCKED for r in self.replicas.values())
            await trio.sleep(_GPU_PAUSE / 4 if pending else _GPU_PAUSE)

    def _note_need(self, replica: Replica) -> None:
        replica.write(replica.status.state, memory=self._memory.need(replica.runtime))

    # ── domain.targets.Runtime ──

    def members(self, name: str) -> list[Replica]:
        """The replicas that a name stands for: a runtime's, or one. GatewayError `model_not_found` for no name."""
        if name in self.replicas:
            return [self.replicas[name]]
        if found := [replica for replica in self.replicas.values() if replica.runtime.name == name]:
            return found
        raise GatewayError(
            "model_not_found",
            f"There is no runtime and no replica called {name!r} here; `appliance status` lists them.",
        )

    async def ensure_ready(self, runtime: str, affinity: bytes = b"", *, elsewhere: bool = False) -> Lease:
        """See `domain.targets.Runtime`."""
        return self._lending.lend(runtime, affinity) or await self._lending.wait(runtime, affinity, elsewhere=elsewhere)

    def waiting(self, runtime: str) -> int:
        """Requests that wait for a runtime."""
        return self._lending.queues[runtime].waiting

    def busy(self, replica: str) -> int:
        """Exchanges that use a replica."""
        return len(self.replicas[replica].leases) if replica in self.replicas else 0

    async def stop(self, runtime: str) -> None:
        """See `domain.targets.Runtime`."""
        async with trio.open_nursery() as nursery:
            for replica in self.members(runtime):
                nursery.start_soon(replica.stop)

    def drain(self) -> None:
        """Take no new work: requests that wait for a model are refused, ready models finish what they have."""
        self._lending.closing = True
        for replica in self.replicas.values():
            replica.close()

    # ── a new configuration ──

    def apply(self, runtimes: Sequence[schema.Runtime]) -> None:
        """Make these the runtimes; see `renewal`."""
        self.renewal.apply(runtimes)

    def admit(self, runtime: schema.Runtime) -> None:
        """See `renewal.Box`."""
        for replica in self._add(runtime):
            if self._house is not None:
                self._begin(self._house, replica)

    def dismiss(self, replica: str) -> None:
        """See `renewal.Box`."""
        del self.replicas[replica]
        self._fleet.drop_replica(replica)

    def in_background(self, work: Callable[[str], Awaitable[None]], name: str) -> None:
        """See `renewal.Box`."""
        if self._house is not None:
            self._house.nursery.start_soon(work, name, name=f"new configuration of {name}")

    def stir(self) -> None:
        """See `renewal.Box`."""
        self._changed.set()
        self._moved.set()
        self._moved = trio.Event()
