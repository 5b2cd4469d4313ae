"""The breaker of one target: a state machine over how exchanges ended. Pure.

    closed ──(so many failures in a row, or half of a busy half minute)──▶ open ──(pause)──▶ half open: one probe
       ▲                                                                     ▲                  │         │
       └──────────────────────────── it ended well ──────────────────────────┼──────────────────┘         │
                                                                             └──────── it failed ─────────┘

A probe is a client's request. Another one is let through when the pause has passed again, whatever became of the last:
an answer may take minutes, and a client may leave. Who is let through may have to wait for a slot first, and others
may be by then: of those, too, one is sent in a pause.
"""

import enum

_FIRST_PAUSE = 5.0  # seconds
_LONGEST_PAUSE = 10.0
_WINDOW = 30.0  # seconds that are counted together
_ENOUGH = 20  # exchanges in a window, of which half must have failed


class State(enum.Enum):
    """The value is the number of the metric."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Breaker:
    """See the module.

    Args:
        failures: so many in a row open it; 0 never does.

    Attributes:
        state: where it is.
        reason: why it opened, in words.
        in_a_row: failures since something ended well.
    """

    __slots__ = (
        "_bad",
        "_good",
        "_opened",
        "_pause",
        "_probe_at",
        "_send_at",
        "_window_ends",
        "failures",
        "in_a_row",
        "reason",
        "state",
    )

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.state = State.CLOSED
        self.reason = ""
        self.in_a_row = 0
        self._good = self._bad = 0
        self._window_ends = 0.0
        self._opened = 0.0
        self._pause = _FIRST_PAUSE
        self._probe_at = 0.0  # when the next one is let through
        self._send_at = 0.0  # when one that was may be sent

    def allows(self, now: float) -> bool:
        """Whether a request may be sent there now."""
        return self.state is State.CLOSED or now >= self._probe_at

    def wait(self, now: float) -> float:
        """Seconds until a request may be sent there."""
        return 0.0 if self.allows(now) else self._probe_at - now

    def begin(self, now: float) -> None:
        """A request is sent there; unless it is closed, that is the probe, and the next one has to wait."""
        if self.state is not State.CLOSED:
            self.state = State.HALF_OPEN
            self._probe_at = now + self._pause

    def send(self, now: float) -> bool:
        """Whether a request that has waited since it was let through may be sent now; if so, that is the probe."""
        if self.state is State.CLOSED:
            return True
        if now < self._send_at:
            return False
        self.state = State.HALF_OPEN
        self._send_at = now + self._pause
        self._probe_at = max(self._probe_at, self._send_at)
        return True

    def good(self, began: float, now: float) -> None:
        """An exchange that began at `began` ended well. One that began before it opened does not close it."""
        if self.state is State.CLOSED:
            self._count(now)
            self._good += 1
            self.in_a_row = 0
        elif began >= self._opened:
            self._close()

    def bad(self, began: float, now: float, reason: str) -> None:
        """An exchange that began at `began` failed, for a reason in a few words."""
        self.in_a_row += 1
        if self.state is State.CLOSED:
            self._count(now)
            self._bad += 1
            half = self._good + self._bad >= _ENOUGH and self._bad >= self._good
            if self.failures and (self.in_a_row >= self.failures or half):
                self._pause = _FIRST_PAUSE
                self._open(now, reason)
        elif began >= self._opened:
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
            self._open(now, reason)

    def idle(self, now: float) -> bool:
        """It knows nothing that matters now."""
        return self.state is State.CLOSED and not self.in_a_row and now >= self._window_ends

    def _open(self, now: float, reason: str) -> None:
        self.state = State.OPEN
        self.reason = reason
        self._opened = now
        self._probe_at = self._send_at = now + self._pause

    def _close(self) -> None:
        self.state = State.CLOSED
        self.reason = ""
        self.in_a_row = self._good = self._bad = 0
        self._window_ends = 0.0

    def _count(self, now: float) -> None:
        if now >= self._window_ends:
            self._good = self._bad = 0
            self._window_ends = now + _WINDOW
