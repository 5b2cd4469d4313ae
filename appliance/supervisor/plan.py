"""How long to wait for a process, as arithmetic on seconds: no clock, no task."""

LONGEST_PAUSE = 300.0
SETTLED = 600.0  # a replica that was healthy for this long has left its past failures behind
UNKNOWN_LOAD = 10.0  # the hint for a client when no start of this runtime has been measured yet


def failures_after_crash(before: int, healthy: float, start_time: float) -> int:
    """Crashes in a row, the one that just happened included.

    Args:
        before: crashes in a row before this one.
        healthy: seconds that the replica was ready before it ended.
        start_time: seconds that it took to become ready.
    """
    return 1 if healthy >= max(SETTLED, 3 * start_time) else before + 1


def backoff(failures: int, random: float) -> float:
    """Seconds to wait before the next start: none after the first crash, then 2, 4, 8 … 300 with jitter.

    Args:
        failures: crashes in a row, at least 1.
        random: from 0 to 1; replicas that died together do not start together.
    """
    if failures <= 1:
        return 0.0
    # The exponent is bounded as well: a replica may fail for months.
    return min(LONGEST_PAUSE, 2.0 * 2.0 ** min(failures - 2, 16)) * (0.5 + 0.5 * random)


def retry_after(elapsed: float, last_start: float | None) -> float:
    """Seconds after which a client should ask again for a model that is still loading.

    Args:
        elapsed: seconds since this start began.
        last_start: seconds that the last complete start took; None when there was none.
    """
    left = (UNKNOWN_LOAD if last_start is None else last_start) - elapsed
    return min(60.0, max(1.0, left))


def give_up(now: float, started: float, progressed: float, stall: float, limit: float) -> str | None:
    """Why a start that is not ready yet should be ended now; None to go on waiting.

    Args:
        now: the clock.
        started: when the process was started.
        progressed: when it last showed progress: a new log line, or the answer that it is loading.
        stall: longest time without progress; 0 is off.
        limit: longest start; 0 is off.
    """
    if limit and now - started >= limit:
        return f"not ready after {limit:g} s (load_limit)"
    if stall and now - max(started, progressed) >= stall:
        return f"no progress for {stall:g} s while starting (load_stall)"
    return None
