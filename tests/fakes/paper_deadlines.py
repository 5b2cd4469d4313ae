"""By when the plan has to have done something about a replica, said once more and in other words than the plan's."""

from collections.abc import Callable
from math import inf

from appliance.domain.status import ReplicaState
from appliance.supervisor.box import View
from appliance.supervisor.plan import FORGOTTEN

S = ReplicaState


def idle_until(view: View) -> float:
    """When a ready one has been idle for long enough. What is preloaded and cannot sleep would come back at once."""
    kept = view.busy or view.asked or view.idle_stop is None or (view.preload and not view.sleep)
    return inf if kept or view.idle_stop is None else view.last_used + view.idle_stop


DUE: dict[ReplicaState, Callable[[View], float]] = {
    S.READY: idle_until,
    S.DRAINING: lambda view: inf if view.drain_until is None else view.drain_until,
    S.BACKOFF: lambda view: view.resume_at,
    S.QUARANTINED: lambda view: view.resume_at,
    S.BLOCKED: lambda view: inf if view.needed else view.since + FORGOTTEN,
}
"""When a replica has left each state at the latest; inf for never."""


def in_time(view: View, now: float, look_again: float | None) -> None:
    """A replica has left its state by its deadline; before that, somebody looks again by then.

    Args:
        view: the replica, after what the plan wanted is done.
        now: the time of the plan.
        look_again: of the plan.
    """
    when = DUE[view.state](view) if view.state in DUE and not view.dying else inf
    assert when > now, f"{view.name} is {view.state} for too long"
    if when < inf and view.since < now:  # the plan has seen it in this state
        assert look_again is not None, f"nobody looks at {view.name} again, which is {view.state}"
        assert look_again <= when
