"""A limit a minute as a bucket: it starts full, holds one minute's worth and refills evenly.

There are no fractions, so nothing drifts. Time is counted in whole ticks of a microsecond. A bucket of N a minute
keeps a clock of its own that makes N steps a tick, so that each item that is taken refills in exactly
`60 * TICKS` steps, whatever N is. The one number that a bucket stores is the step at which it will be full again.
"""

TICKS = 1_000_000  # a second
MINUTE = 60 * TICKS


def to_ticks(now: float) -> int:
    """Monotonic seconds, never negative, as ticks."""
    return round(now * TICKS)


class Bucket:
    """One limit. Ticks that are passed in must not run backwards.

    Attributes:
        capacity: items a minute, and the most that it holds; at least 1.
        room: the same in steps.
        full_at: step of its own clock at which it will be full.
    """

    __slots__ = ("capacity", "full_at", "room")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.room = capacity * MINUTE
        self.full_at = 0  # in the past: it is full

    def try_take(self, items: int, tick: int) -> int:
        """Take items, at most its capacity, if it holds them: 0; else take nothing: the ticks until it holds them."""
        wait = self.wait_for(items, tick)
        if not wait:
            self.take(items, tick)
        return wait

    def wait_for(self, items: int, tick: int) -> int:
        """Ticks until it holds that many items, at most its capacity."""
        missing = self.full_at - tick * self.capacity + items * MINUTE - self.room
        return max(-(-missing // self.capacity), 0)

    def take(self, items: int, tick: int) -> None:
        """Take items, also more than there are: then it is in debt, which refills like the rest."""
        step = tick * self.capacity
        full_at = self.full_at
        self.full_at = (full_at if full_at > step else step) + items * MINUTE  # noqa: FURB136 - max() takes 4 times as long

    def give_back(self, items: int) -> None:
        """Undo a `take`, or a part of it; what would not fit any more by now is lost."""
        self.full_at -= items * MINUTE

    def level(self, tick: int) -> int:
        """Whole items in it; negative in debt."""
        missing = self.full_at - tick * self.capacity
        return self.capacity - -(-missing // MINUTE) if missing > 0 else self.capacity

    def until_full(self, tick: int) -> int:
        """Ticks until it is full if nothing more is taken."""
        return -(-self._missing(tick) // self.capacity)

    def standing(self, tick: int) -> tuple[int, int]:
        """What is left, 0 in debt, and the ticks until it is full."""
        capacity = self.capacity
        missing = self.full_at - tick * capacity
        if missing <= 0:
            return capacity, 0
        left = capacity - -(-missing // MINUTE)
        return (left if left > 0 else 0), -(-missing // capacity)  # noqa: FURB136 - as above

    def _missing(self, tick: int) -> int:
        """Steps until it is full."""
        return max(self.full_at - tick * self.capacity, 0)
