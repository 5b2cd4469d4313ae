"""How long to wait for a process, as arithmetic on seconds: no clock, no task."""

from dataclasses import dataclass
from math import inf

from appliance.supervisor.verdict import Retry

LONGEST_PAUSE = 300.0
_MOST = 5  # failures, before a replica is left alone until something changes
_WINDOW = 1800.0
_AGAIN = 2.0
TRIAL = 3600.0  # seconds in quarantine until one more start, where time may have helped
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


@dataclass(frozen=True, slots=True)
class Record:
    """The failures that count against a replica.

    Attributes:
        row: in a row, none of them forgotten by long health.
        times: when the last ones were, monotonic seconds.
        cause: of the last one.
        same: how many of the last ones in a row had that cause.
    """

    row: int = 0
    times: tuple[float, ...] = ()
    cause: str = ""
    same: int = 0

    def after(self, now: float, cause: str, healthy: float, start_time: float) -> "Record":
        """The record with one more failure; see `failures_after_crash` for the other two."""
        row = failures_after_crash(self.row, healthy, start_time)
        recent = tuple(time for time in self.times if now - time < _WINDOW)[-_MOST:]
        same = self.same + 1 if cause == self.cause and row > 1 else 1
        return Record(row, (*recent, now), cause, same)


def next_start(record: Record, retry: Retry, random: float) -> float | None:
    """Seconds until the next start, the last failure being part of the record; None for quarantine.

    Args:
        record: of the failures.
        retry: what its last failure is worth.
        random: from 0 to 1, for the jitter.
    """
    match retry:
        case Retry.NEVER:
            return None
        case Retry.ONCE:
            return None if record.same > 1 else _AGAIN
        case Retry.NEW_PORT:
            return None if record.same > _MOST else 1.0 + 2.0 * random
        case _:
            # Five in a row, or five in half an hour with health in between: it will not get better by itself.
            return None if record.row > _MOST or len(record.times) > _MOST else backoff(record.row, random)


def trial(retry: Retry) -> float:
    """Seconds in quarantine until one more start; inf where time does not help: a wrong flag stays wrong.

    The failures before it count on, so that one more puts it back at once.
    """
    return inf if retry is Retry.NEVER else TRIAL


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
