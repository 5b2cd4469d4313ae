"""How quickly a line moves, measured where it did, so that a client is told honestly when to come back."""

from collections import deque
from math import ceil

_MEASURED = 32  # places, the last ones that became free
_OLD = 60.0  # seconds after which a measurement says nothing about now
_LONGEST = 60  # seconds; some official SDKs ignore a longer time and use a guess of their own
_UNKNOWN = 5  # seconds, where nothing has been measured yet


class Drain:
    """The rate at which slots of one runtime became free while somebody waited."""

    __slots__ = ("_freed",)

    def __init__(self) -> None:
        self._freed: deque[float] = deque(maxlen=_MEASURED)

    def freed(self, now: float) -> None:
        """A slot became free while somebody waited."""
        self._freed.append(now)

    def rate(self, now: float) -> float | None:
        """Slots a second, up to now: a line that has stopped becomes slower with time; None when it is not known."""
        freed = self._freed
        while freed and now - freed[0] > _OLD:
            freed.popleft()
        if len(freed) < 2 or now <= freed[0]:
            return None
        return len(freed) / (now - freed[0])

    def retry_after(self, places: int, now: float) -> int:
        """Seconds until so many places will have moved up, 1 to 60."""
        rate = self.rate(now)
        return _UNKNOWN if rate is None else min(max(ceil(places / rate), 1), _LONGEST)
