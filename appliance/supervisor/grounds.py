"""What a replica stands on, its program and its model's file: one in quarantine is started again when that changes."""

import logging
from collections.abc import Mapping
from typing import Protocol

import trio

from appliance.config.schema import Runtime
from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.supervisor import environment

_LOG = logging.getLogger("appliance.supervisor")
_EVERY = 1.0  # seconds
_PATIENCE = 5.0  # seconds for a file system to answer; a network's may hang

Ground = tuple[object, ...]


class Standing(Protocol):
    """A replica, as far as its ground is concerned.

    Attributes:
        ground: as it was before its last start; None when that is not known.
    """

    runtime: Runtime
    status: ReplicaStatus
    ground: Ground | None

    def want(self) -> None:
        """It shall run."""
        ...


async def ground_of(runtime: Runtime, limiter: trio.CapacityLimiter) -> Ground | None:
    """What a runtime stands on now; None when the file system does not answer in time.

    Args:
        runtime: see `environment.ground`.
        limiter: a place for one thread, which is held for as long as a look hangs.
    """
    with trio.move_on_after(_PATIENCE):
        return await trio.to_thread.run_sync(environment.ground, runtime, limiter=limiter, abandon_on_cancel=True)
    return None


async def watch(replicas: Mapping[str, Standing]) -> None:
    """Look again and again until cancelled."""
    limiters: dict[str, trio.CapacityLimiter] = {}
    while True:
        for name, replica in list(replicas.items()):
            if replica.status.state is ReplicaState.QUARANTINED:
                await _look(name, replica, limiters.setdefault(name, trio.CapacityLimiter(1)))
        await trio.sleep(_EVERY)


async def _look(name: str, replica: Standing, limiter: trio.CapacityLimiter) -> None:
    ground = await ground_of(replica.runtime, limiter)
    if ground is None or replica.status.state is not ReplicaState.QUARANTINED:
        return
    if replica.ground is None:
        replica.ground = ground
    elif replica.ground != ground:
        _LOG.info("%s: its files have changed, so it is started again", name)
        replica.want()
