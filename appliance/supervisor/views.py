"""A replica as the plan sees it."""

from collections.abc import Sequence

from appliance.domain.status import ReplicaState
from appliance.supervisor.explain import width_of
from appliance.supervisor.plan import View
from appliance.supervisor.replica import Replica

S = ReplicaState


def view_of(replica: Replica, asked: Sequence[float]) -> View:
    """A replica for the plan.

    Args:
        replica: to be looked at.
        asked: since when each request that waits for its runtime does, oldest first.
    """
    row, runtime = replica.status, replica.runtime
    state = S.STARTING if replica.permitted and row.state is not S.SLEEPING else row.state
    return View(
        name=replica.name,
        runtime=runtime.name,
        state=state,
        since=row.since,
        wanted=replica.wanted,
        urgent=replica.urgent,
        asked=len(asked),
        asked_since=asked[0] if asked else 0.0,
        busy=len(replica.leases),
        used=replica.used,
        resume_at=replica.resume_at,
        dying=replica.life is not None and state in (S.BACKOFF, S.STOPPED),
        gpus=row.gpus,
        choices=runtime.gpus if runtime.replicas == 1 or not runtime.gpus else None,
        among=runtime.gpus,
        width=width_of(runtime),
        need=runtime.memory or row.memory,
        exclusive=runtime.exclusive,
        priority=runtime.priority,
        pinned=runtime.pinned,
        preload=runtime.preload,
        idle_stop=runtime.idle_stop,
        sleep=replica.can_sleep,
        vllm=runtime.engine == "vllm",
    )
