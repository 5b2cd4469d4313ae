"""The life of a replica as one table.

Rules that the table keeps:

- every state has an exit, so nothing can be stuck by construction;
- a process exists in starting, loading, ready and draining only, and may still exist in stopping and backoff;
- backoff and stopped are the only ways to starting: no start without a decision about the wait before it;
- whatever ends by itself goes to backoff, whatever was asked to end goes through stopping;
- draining never goes back to ready: whoever saw it has already sent its work elsewhere.
"""

from types import MappingProxyType

from appliance.domain.status import ReplicaState as S

TRANSITIONS = MappingProxyType(
    {
        S.STOPPED: frozenset({S.STARTING}),
        S.STARTING: frozenset({S.LOADING, S.READY, S.STOPPING, S.BACKOFF}),
        S.LOADING: frozenset({S.READY, S.STOPPING, S.BACKOFF}),
        S.READY: frozenset({S.DRAINING, S.STOPPING, S.BACKOFF}),
        S.DRAINING: frozenset({S.STOPPING}),
        S.STOPPING: frozenset({S.STOPPED, S.BACKOFF}),
        S.BACKOFF: frozenset({S.STARTING, S.STOPPED}),
    }
)


def move(state: S, to: S) -> S:
    """The new state.

    Raises:
        ValueError: the table has no such transition; that is a bug of the caller.
    """
    if to not in TRANSITIONS[state]:
        raise ValueError(f"a replica cannot go from {state} to {to}")
    return to
