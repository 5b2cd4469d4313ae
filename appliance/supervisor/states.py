"""The life of a replica as one table.

    state        a process?   it lasts at most                              it ends by
    stopped      no           for ever: nothing is wanted                   a start; memory held by others
    starting     yes          `load_stall` without progress, `load_limit`   an answer; giving up; its own end
    loading      yes          the same two; 300 s when it wakes up          the same
    ready        yes          for ever: that is what is wanted              a stop, a drain, a sleep; its own end
    draining     yes          `drain`; `make_room` when it makes room; 60 s its last exchange's end; the limit
                              when it goes to sleep
    stopping     dying        `stop_grace` and ten seconds, then wedged     the proof that its tree is gone
    backoff      dying        its pause, at most 300 s; then until it is    the next start; giving up on it
                              wanted
    quarantined  no           until something changes                       a changed file or config; the operator
    blocked      no           until the memory is free                      free memory; nobody wanting it any more
    sleeping     yes          for ever: it holds little                     a wake; a stop; its own end

Rules that the table keeps:

- every state has an exit, so nothing can be stuck by construction;
- a process serves in ready and draining only, and may still be dying in stopping and backoff;
- stopped, backoff, quarantined and blocked are the only ways to starting: no start without a decision about it;
- whatever ends by itself goes to backoff, whatever was asked to end goes through stopping;
- draining never goes back to ready: whoever saw it has already sent its work elsewhere;
- waking is loading: no request reaches a model between its sleep and its first good answer;
- what is taken over from an earlier run starts; where that has left it asleep, it sleeps on.
"""

from types import MappingProxyType

from appliance.domain.status import ReplicaState as S

TRANSITIONS = MappingProxyType(
    {
        S.STOPPED: frozenset({S.STARTING, S.BLOCKED, S.QUARANTINED}),
        S.STARTING: frozenset({S.LOADING, S.READY, S.STOPPING, S.BACKOFF, S.SLEEPING}),
        S.LOADING: frozenset({S.READY, S.STOPPING, S.BACKOFF, S.SLEEPING}),
        S.READY: frozenset({S.DRAINING, S.STOPPING, S.BACKOFF, S.SLEEPING}),
        S.DRAINING: frozenset({S.STOPPING, S.SLEEPING, S.BACKOFF}),
        S.STOPPING: frozenset({S.STOPPED, S.BACKOFF}),
        S.BACKOFF: frozenset({S.STARTING, S.STOPPED, S.QUARANTINED, S.BLOCKED}),
        S.QUARANTINED: frozenset({S.STARTING, S.STOPPED, S.BLOCKED}),
        S.BLOCKED: frozenset({S.STARTING, S.STOPPED, S.QUARANTINED}),
        S.SLEEPING: frozenset({S.LOADING, S.STOPPING, S.BACKOFF}),
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
