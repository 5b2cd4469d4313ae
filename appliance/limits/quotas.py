"""A limit of tokens for a calendar day or month, in UTC.

What was used belongs to the day and month in which its exchange ended, as in the usage file, from which it is read
again after a restart.
"""

from datetime import UTC, datetime
from typing import Literal

Span = Literal["day", "month"]
_DAY = 86_400


def span_of(span: Span, date: float) -> tuple[int, int]:
    """When the day or month of a point in time begins, and when the next one does; seconds since 1970."""
    day = int(date // _DAY) * _DAY
    if span == "day":
        return day, day + _DAY
    first = datetime.fromtimestamp(day, UTC).replace(day=1)
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return int(first.timestamp()), int(following.timestamp())


class Quota:
    """What is used of one such limit. Dates are seconds since 1970.

    Attributes:
        span: what it is a limit of.
        limit: tokens.
        used: tokens of exchanges that have ended in this span.
        begin, end: when the span begins and ends.
    """

    __slots__ = ("begin", "end", "limit", "span", "used")

    def __init__(self, span: Span, limit: int, used: int, date: float) -> None:
        """`used` was used in the span that `date` is in."""
        self.span = span
        self.limit = limit
        self.used = used
        self.begin, self.end = span_of(span, date)

    def left(self, date: float) -> int:
        """Tokens that are not used; 0 when more were used than there were."""
        if not self.begin <= date < self.end:
            self._turn(date)
        left = self.limit - self.used
        return left if left > 0 else 0  # noqa: FURB136 - as in `buckets`

    def settle(self, tokens: int, date: float) -> None:
        """An exchange has ended with so many."""
        if not self.begin <= date < self.end:
            self._turn(date)
        self.used += tokens

    def _turn(self, date: float) -> None:
        """A new day or month begins. A clock that is set back over its beginning gives nothing back."""
        begin, end = span_of(self.span, date)
        if end != self.begin:
            self.begin, self.end, self.used = begin, end, 0
