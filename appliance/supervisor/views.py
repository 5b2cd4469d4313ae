"""A replica as the plan sees it."""

from appliance.domain.status import ReplicaState
from appliance.supervisor.box import View
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
    state = S.STARTING if replica.permitted and row.state is not S.SLEEPING else row.state
    need = runtime.memory or row.memory
    asked = queue.asked(now)
    return View(
        name=replica.name,
        runtime=runtime.name,
        state=state,
        since=row.since,
        wanted=replica.wanted,
        urgent=replica.urgent,
        asked=asked,
        asked_since=queue.since if asked else 0.0,
        busy=len(replica.leases),
        used=replica.used,
        resume_at=replica.resume_at,
        drain_until=replica.drain_until,
        to_sleep=replica.to_sleep,
        dying=replica.life is not None and state in (S.BACKOFF, S.STOPPED),
        gpus=row.gpus,
        choices=runtime.gpus if runtime.replicas == 1 or not runtime.gpus else None,
        among=runtime.gpus,
        width=width_of(runtime),
        need=max(1, need - held) if need and state is S.SLEEPING else need,
        exclusive=runtime.exclusive,
        priority=runtime.priority,
        pinned=runtime.pinned,
        preload=runtime.preload and not replica.unloaded,
        idle_stop=runtime.idle_stop,
        sleep=replica.can_sleep,
        vllm=runtime.engine == "vllm",
    )
