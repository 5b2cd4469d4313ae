"""The life of a replica as one table: how long each state lasts, who sees to that, and what may follow.

A state either has a deadline or is one to rest in. A deadline is kept by the plan, which says by when it has to look
again, or by the replica's own task. To rest is to be as wanted, or to wait for something that no clock brings; each
such state says for what, is watched where there is a process, and keeps nobody waiting: a request that cannot be
answered meanwhile is refused at once or after `load_wait`.

Rules that the table keeps:

- every state has an exit, so nothing can be stuck by construction;
- a process serves in ready and draining only, and may still be dying in stopping and backoff;
- stopped, backoff and blocked are the only ways to starting: no start without a decision about it;
- whatever ends by itself goes to backoff, whatever was asked to end goes through stopping;
- draining never goes back to ready: whoever saw it has already sent its work elsewhere;
- waking is loading: no request reaches a model between its sleep and its first good answer;
- what is taken over from an earlier run starts; where that has left it asleep, it sleeps on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from appliance.domain.status import ReplicaState

S = ReplicaState


class Keeper(StrEnum):
    """Who sees to it that a state ends in time."""

    PLAN = "plan"  # `plan.plan`, by what it does and by when it wants to look again
    TASK = "task"  # the replica's own: `watching` and `life`
    NOBODY = "nobody"  # it is one to rest in


@dataclass(frozen=True, slots=True)
class Stay:
    """One row.

    Attributes:
        process: "no", "yes", or "dying": one of the last life may still be there.
        lasts: how long at most, with the names of the settings that say so; where it rests, until what happens.
        keeper: who sees to that.
        exits: what may follow.
    """

    process: str
    lasts: str
    keeper: Keeper
    exits: frozenset[ReplicaState]

    @property
    def rests(self) -> bool:
        """No clock ends it."""
        return self.keeper is Keeper.NOBODY


LIFE: Mapping[ReplicaState, Stay] = MappingProxyType(
    {
        S.STOPPED: Stay(
            "no",
            "rests until a request, an order or the configuration wants it and there is room; waits say for what",
            Keeper.NOBODY,
            frozenset({S.STARTING, S.BLOCKED}),
        ),
        S.STARTING: Stay(
            "yes",
            "`load_stall` without progress, `load_limit` in all",
            Keeper.TASK,
            frozenset({S.LOADING, S.READY, S.STOPPING, S.BACKOFF, S.SLEEPING}),
        ),
        S.LOADING: Stay(
            "yes",
            "`load_stall` without progress, `load_limit` in all; 300 s when it wakes up",
            Keeper.TASK,
            frozenset({S.READY, S.STOPPING, S.BACKOFF, S.SLEEPING}),
        ),
        S.READY: Stay(
            "yes",
            "rests until it is idle for `idle_stop`, has to make room or is told to end; ended when it does not answer"
            " for `dead_limit` or its tokens stand still for `stall_limit`",
            Keeper.NOBODY,
            frozenset({S.DRAINING, S.STOPPING, S.BACKOFF}),
        ),
        S.DRAINING: Stay(
            "yes",
            "until its last exchange ends: `drain`, or `make_room` where it makes room; 60 s to fall asleep",
            Keeper.PLAN,
            frozenset({S.STOPPING, S.SLEEPING, S.BACKOFF}),
        ),
        S.STOPPING: Stay(
            "dying",
            "`stop_grace` and ten seconds; what is left then is named, killed again every 5 s, and its GPU gets nothing"
            " new until it is gone",
            Keeper.TASK,
            frozenset({S.STOPPED, S.BACKOFF}),
        ),
        S.BACKOFF: Stay(
            "dying",
            "its pause, at most 300 s; then it starts, is blocked, or is stopped and says what it waits for",
            Keeper.PLAN,
            frozenset({S.STARTING, S.STOPPED, S.QUARANTINED, S.BLOCKED}),
        ),
        S.QUARANTINED: Stay(
            "no",
            "an hour where time may help; where it cannot, until its files, the configuration or an order change it",
            Keeper.PLAN,
            frozenset({S.STOPPED}),
        ),
        S.BLOCKED: Stay(
            "no",
            "looked at again every second; ten minutes where nobody asks for it or wants it any more",
            Keeper.PLAN,
            frozenset({S.STARTING, S.STOPPED}),
        ),
        S.SLEEPING: Stay(
            "yes",
            "rests until somebody asks for it, its memory is needed or it is told to end; ended when it does not answer"
            " for `dead_limit`",
            Keeper.NOBODY,
            frozenset({S.LOADING, S.STOPPING, S.BACKOFF}),
        ),
    }
)


def move(state: ReplicaState, to: ReplicaState) -> ReplicaState:
    """The new state.

    Raises:
        ValueError: the table has no such transition; that is a bug of the caller.
    """
    if to not in LIFE[state].exits:
        raise ValueError(f"a replica cannot go from {state} to {to}")
    return to
