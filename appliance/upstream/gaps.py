"""How steadily a reply comes: its longest pause, and the pauses that a reader notices."""

from math import inf

STALL = 1.0  # seconds; a pause that is longer is a stall


class Gaps:
    """The pauses between two reads of one reply, once its first content is here; time in which nobody reads is none.

    Each read compares its pause with `notable` and calls `saw` when it is greater. That is what it costs: a stream that
    flows evenly hardly ever sets a new record.

    Attributes:
        notable: seconds beyond which a pause is to be told; infinite before the first content.
        longest: the longest so far, in seconds.
        stalls: those that were longer than `STALL`.
    """

    __slots__ = ("longest", "notable", "stalls")

    def __init__(self) -> None:
        self.notable = inf
        self.longest = 0.0
        self.stalls = 0

    def begin(self) -> None:
        """The first content is here: what comes before it is the time to the first token."""
        self.notable = min(self.longest, STALL)

    def saw(self, seconds: float) -> None:
        """A pause was notable."""
        if seconds > STALL:
            self.stalls += 1
        self.longest = max(self.longest, seconds)
        self.notable = min(self.longest, STALL)
