"""The last minutes in figures, and the last requests. Somebody tells it once a second what it cannot see."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from appliance.observe.log import ExchangeRecord

SECONDS = 300  # that the figures go back
RECENT = 300  # requests that are remembered
FAILED = 50  # of those that failed, which others must not push out
_WINDOW = 60  # seconds of the time to the first token


@dataclass(frozen=True, slots=True)
class Second:
    """One second.

    Attributes:
        requests, failed: that ended in it; failed are those whose fault is ours or an engine's.
        tokens: of output.
        first: times to the first token, seconds.
        in_flight, waiting: requests at its end.
    """

    requests: int = 0
    failed: int = 0
    tokens: int = 0
    first: tuple[float, ...] = ()
    in_flight: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """A request that is over: when, in seconds since 1970, and what is told about it."""

    date: float
    record: ExchangeRecord


class Pulse:
    """Feels the pulse.

    Attributes:
        fresh: whoever ends an exchange adds its record here, and does nothing else.
        seconds: the last ones, oldest first.
        recent: the last requests, newest first.
        failed: the last of those whose fault is ours or an engine's, newest first.
    """

    def __init__(self) -> None:
        self.fresh: list[ExchangeRecord] = []
        self.seconds: deque[Second] = deque(maxlen=SECONDS)
        self.recent: deque[Ended] = deque(maxlen=RECENT)
        self.failed: deque[Ended] = deque(maxlen=FAILED)
        self._ended = 0  # tokens of all exchanges that are over
        self._total = 0  # those, and of exchanges under way, at the last beat

    def beat(self, date: float, streaming: Iterable[int], in_flight: int, waiting: int) -> None:
        """A second is over.

        Args:
            date: seconds since 1970.
            streaming: tokens so far of each exchange under way.
            in_flight: how many there are.
            waiting: how many of these are in line or wait for a model.
        """
        fresh = self.fresh.copy()
        self.fresh.clear()  # the same list: others have its `append`
        self._ended += sum(record.usage.output for record in fresh)
        total = self._ended + sum(streaming)
        tokens, self._total = max(total - self._total, 0), total
        self.recent.extendleft(Ended(date, record) for record in fresh[-RECENT:])
        self.failed.extendleft(Ended(date, record) for record in fresh if record.status >= 500)
        self.seconds.append(
            Second(
                requests=len(fresh),
                failed=sum(record.status >= 500 for record in fresh),
                tokens=tokens,
                first=tuple(record.ttft_s for record in fresh if record.ttft_s is not None),
                in_flight=in_flight,
                waiting=waiting,
            )
        )

    def first_token(self) -> tuple[float | None, float | None]:
        """Median and 95th percentile of the last minute's times to the first token, seconds."""
        found = sorted(time for second in list(self.seconds)[-_WINDOW:] for time in second.first)
        return quantile(found, 0.5), quantile(found, 0.95)


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The number that a share of the others does not exceed; None of none."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else None
