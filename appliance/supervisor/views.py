"""A replica as the plan sees it."""

from dataclasses import replace

from appliance.config.schema import Runtime
from appliance.domain.status import ReplicaState
from appliance.supervisor.box import View, dying
from appliance.supervisor.explain import width_of
from appliance.supervisor.queues import Queue
from appliance.supervisor.replica import Replica

S = ReplicaState


def view_of(replica: Replica, queue: Queue, now: float, held: int = 0) -> View:
    """A replica for the plan.

    Args:
        replica: to be looked at.
        queue: who waits for its runtime.
        now: monotonic seconds.
        held: bytes that its processes hold on a GPU; a sleeper has kept that much of what it needs.
    """
    row, runtime = replica.status, replica.runtime
    settings = wish_of(runtime, replica.name, runtime.memory or row.memory)
    permit = replica.permit if row.state is not S.SLEEPING else None
    state = S.STARTING if permit is not None else row.state
    asked = queue.asked(now)
    return replace(
        settings,
        state=state,
        since=row.since,
        wanted=replica.wanted,
        urgent=replica.urgent,
        asked=asked,
        asked_since=queue.since if asked else 0.0,
        busy=len(replica.leases) + replica.elsewhere,
        used=replica.used,
        grew=_grew(replica),
        resume_at=replica.resume_at,
        drain_until=replica.drain_until,
        to_sleep=replica.to_sleep,
        wedged=replica.life is not None and replica.life.wedged,
        dying=dying(state, process=replica.life is not None),
        gpus=row.gpus if permit is None else permit[0] or (),
        need=max(1, settings.need - held) if settings.need and state is S.SLEEPING else settings.need,
        preload=runtime.preload and not replica.unloaded,
        sleep=replica.can_sleep,
    )


def _grew(replica: Replica) -> float:
    life = replica.life
    if life is None:
        return 0.0
    return replica.status.since if life.ready is None else life.ready


def wish_of(runtime: Runtime, name: str, need: int) -> View:
    """A replica that does not run, as if somebody asked for it.

    Args:
        runtime: whose replica.
        name: of the replica.
        need: bytes on each of its GPUs; 0 is unknown.
    """
    return View(
        name=name,
        runtime=runtime.name,
        state=S.STOPPED,
        since=0.0,
        asked=1,
        choices=runtime.gpus if runtime.replicas == 1 or not runtime.gpus else None,
        among=runtime.gpus,
        width=width_of(runtime),
        need=need,
        exclusive=runtime.exclusive,
        priority=runtime.priority,
        pinned=runtime.pinned,
        preload=runtime.preload,
        idle_stop=runtime.idle_stop,
        vllm=runtime.engine == "vllm",
    )
