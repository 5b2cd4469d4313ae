"""A limit a minute as a bucket: it starts full, holds one minute's worth and refills evenly.

There are no fractions, so nothing drifts. Time is counted in whole ticks of a microsecond. A bucket of N a minute
keeps a clock of its own that makes N steps a tick, so that each item that is taken refills in exactly
`60 * TICKS` steps, whatever N is. The one number that a bucket stores is the step at which it will be full again.
"""

TICKS = 1_000_000  # a second
_MINUTE = 60 * TICKS


def to_ticks(now: float) -> int:
    """Monotonic seconds, never negative, as ticks."""
    return round(now * TICKS)


class Bucket:
    """One limit. Ticks that are passed in must not run backwards.

    Attributes:
        capacity: items a minute, and the most that it holds; at least 1.
        full_at: the step of its own clock at which it is full again; in the past: it is.
    """

    __slots__ = ("capacity", "full_at")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.full_at = 0

    def try_take(self, items: int, tick: int) -> int:
        """Take items, at most its capacity, if it holds them: 0; else take nothing: the ticks until it holds them."""
        capacity = self.capacity
        step = tick * capacity
        full_at = self.full_at
        missing = full_at - step - (capacity - items) * _MINUTE
        if missing > 0:
            return -(-missing // capacity)
        self.full_at = (full_at if full_at > step else step) + items * _MINUTE  # noqa: FURB136 - max() takes 4 times as long
        return 0

    def take(self, items: int, tick: int) -> None:
        """Take items, also more than there are: then it is in debt, which refills like the rest."""
        step = tick * self.capacity
        full_at = self.full_at
        self.full_at = (full_at if full_at > step else step) + items * _MINUTE  # noqa: FURB136 - as above

    def give_back(self, items: int) -> None:
        """Undo a `take`, or a part of it; what would not fit any more by now is lost."""
        self.full_at -= items * _MINUTE

    def level(self, tick: int) -> int:
        """Whole items in it; negative in debt."""
        return self.capacity - -(-self._missing(tick) // _MINUTE)

    def until_full(self, tick: int) -> int:
        """Ticks until it is full if nothing more is taken."""
        return -(-self._missing(tick) // self.capacity)

    def standing(self, tick: int) -> tuple[int, int]:
        """What is left, 0 in debt, and the ticks until it is full."""
        capacity = self.capacity
        missing = self.full_at - tick * capacity
        if missing <= 0:
            return capacity, 0
        left = capacity - -(-missing // _MINUTE)
        return (left if left > 0 else 0), -(-missing // capacity)  # noqa: FURB136 - as above

    def _missing(self, tick: int) -> int:
        """Steps until it is full."""
        return max(self.full_at - tick * self.capacity, 0)
