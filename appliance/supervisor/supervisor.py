"""All replicas of this box, behind `domain.targets.Runtime`: start once, wait in bounds, stop, leave nothing."""

import logging
import os
import random as chance
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import trio

from appliance.config import schema
from appliance.domain.status import ReplicaState
from appliance.domain.targets import Endpoint, Lease
from appliance.errors import GatewayError
from appliance.fleet.table import FleetTable
from appliance.supervisor import environment, plan
from appliance.supervisor.replica import Place, Probe, Replica
from appliance.supervisor.state_dir import instance_of, locked
from appliance.supervisor.tree import become_subreaper, remove_tagged

_LOG = logging.getLogger("appliance.supervisor")
_LONGEST_SOCKET = 100  # the kernel's limit for a socket path is 107 bytes


class Supervisor:
    """Owns every model server process of this box.

    Args:
        runtimes: from the config.
        state_dir: for logs, sockets and the instance's id; created with mode 0700.
        fleet: gets a row for each replica.
        probe: asks an endpoint for its health; must not raise.
        load_wait: seconds that a request may wait for a model.
        load_queue: requests that may wait for one model.
        probe_interval: seconds between two probes of a ready replica.
        random: from 0 to 1, for the jitter of restarts.
        open_files: soft and hard limit of open files for the processes; ours when absent.
    """

    def __init__(
        self,
        runtimes: Sequence[schema.Runtime],
        *,
        state_dir: Path,
        fleet: FleetTable,
        probe: Probe,
        load_wait: float,
        load_queue: int,
        probe_interval: float,
        random: Callable[[], float] = chance.random,
        open_files: tuple[int, int] | None = None,
    ) -> None:
        self._open_files = open_files
        self._state_dir = state_dir
        self._load_wait = load_wait
        self._load_queue = load_queue
        self._draining = False
        self._replicas = {
            runtime.name: Replica(
                runtime, runtime.name, fleet=fleet, probe=probe, probe_interval=probe_interval, random=random
            )
            for runtime in runtimes
        }
        self._waiting = dict.fromkeys(self._replicas, 0)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look after the replicas until cancelled; then no process of theirs is left.

        Raises:
            OperatorError: the state directory cannot be used, or another appliance uses it.
        """
        with locked(self._state_dir), _sockets(self._state_dir, list(self._replicas)) as sockets:
            become_subreaper()
            instance = instance_of(self._state_dir)
            if left_over := await remove_tagged(instance):
                _LOG.warning("ended %d model server processes of an earlier run", len(left_over))
            async with trio.open_nursery() as nursery:
                for name, replica in self._replicas.items():
                    log = self._state_dir / "logs" / f"{quote(name, safe='')}.log"
                    place = Place(instance, self._state_dir, sockets[name], log, self._open_files)
                    nursery.start_soon(replica.run, place, name=f"replica {name}")
                    if replica.runtime.start == "boot":
                        replica.start()
                task_status.started()
                await trio.sleep_forever()

    async def ensure_ready(self, runtime: str, affinity: bytes = b"") -> Lease:  # noqa: ARG002 - one replica
        """See `domain.targets.Runtime`."""
        endpoint = await self._ready_endpoint(runtime)
        return self._replicas[runtime].lend(endpoint)

    async def _ready_endpoint(self, runtime: str) -> Endpoint:
        replica = self._replicas[runtime]
        if self._draining:
            raise _draining(replica)
        row = replica.status
        if row.state is ReplicaState.READY and row.endpoint is not None:
            return row.endpoint
        if self._waiting[runtime] >= self._load_queue:
            raise _queue_full(replica, self._load_queue)
        self._waiting[runtime] += 1
        try:
            replica.start()
            deadline = trio.current_time() + self._load_wait
            with trio.move_on_at(deadline):
                return await self._until_ready(replica, deadline)
            raise _not_ready(replica, f"did not finish loading within {self._load_wait:g} s")
        finally:
            self._waiting[runtime] -= 1

    async def _until_ready(self, replica: Replica, deadline: float) -> Endpoint:
        while True:
            row = replica.status
            if self._draining:
                raise _draining(replica)
            if row.state is ReplicaState.READY and row.endpoint is not None:
                return row.endpoint
            if row.state is ReplicaState.BACKOFF and replica.resume_at > deadline:
                raise _not_ready(replica, "")
            if not replica.wanted:
                raise _not_ready(replica, "was stopped while this request waited for it")
            await replica.changed()

    async def stop(self, runtime: str) -> None:
        """See `domain.targets.Runtime`."""
        await self._replicas[runtime].stop()

    def drain(self) -> None:
        """Take no new work: requests that wait for a model are refused, ready models finish what they have."""
        self._draining = True
        for replica in self._replicas.values():
            replica.drain()


def _extras(replica: Replica) -> dict[str, str]:
    return {"state": str(replica.status.state), "reason": replica.status.reason}


def _draining(replica: Replica) -> GatewayError:
    message = "The server is shutting down and takes no new work. Try again in a moment."
    return GatewayError("draining", message, retry_after=plan.UNKNOWN_LOAD, extras=_extras(replica))


def _hint(replica: Replica) -> float:
    return plan.retry_after(trio.current_time() - replica.status.since, replica.last_start)


def _queue_full(replica: Replica, size: int) -> GatewayError:
    message = (
        f'The model "{replica.runtime.name}" is not ready yet and {size} requests already wait for it. '
        "The server is at its limit (load_queue); try again later."
    )
    return GatewayError("queue_full", message, retry_after=_hint(replica), extras=_extras(replica))


def _not_ready(replica: Replica, what: str) -> GatewayError:
    row = replica.status
    name = replica.runtime.name
    if row.state is ReplicaState.BACKOFF:
        wait = max(1.0, replica.resume_at - trio.current_time())
        message = (
            f'The process of the model "{name}" ended by itself: {row.reason}. The appliance starts it again in '
            f"{wait:.0f} s; if this repeats, the operator has to act."
        )
        return GatewayError("model_crashed", message, retry_after=wait, extras=_extras(replica))
    message = f'The model "{name}" {what}. Nothing is wrong with the request; send it again in a moment.'
    extras = _extras(replica) | {"progress": row.progress}
    return GatewayError("model_loading", message, retry_after=_hint(replica), extras=extras)


@contextmanager
def _sockets(state_dir: Path, names: Sequence[str]) -> Iterator[dict[str, Path]]:
    """A socket path for each replica; in a short directory of our own where the state directory's path is too long."""
    paths = {name: state_dir.resolve() / "run" / f"{quote(name, safe='')}.sock" for name in names}
    if all(len(os.fsencode(path)) < _LONGEST_SOCKET for path in paths.values()):
        try:
            yield paths
        finally:
            for path in paths.values():
                with suppress(OSError):
                    path.unlink(missing_ok=True)
        return
    home = environment.user_run_dir()
    base = home if home and len(os.fsencode(home)) < 60 and os.access(home, os.W_OK) else "/tmp"  # noqa: S108 - mkdtemp makes it private
    directory = Path(tempfile.mkdtemp(prefix="appliance-", dir=base))
    try:
        yield {name: directory / f"{index}.sock" for index, name in enumerate(names)}
    finally:
        shutil.rmtree(directory, ignore_errors=True)
