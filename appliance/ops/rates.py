"""From sums that only rise to what happens now: rates and latencies of each model. Pure: time is an argument."""

from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from appliance.observe.exchange_metrics import FIRST_TOKEN, Totals

_WINDOW = 5.0  # seconds over which a rate is taken: one second alone jumps, more lags behind
_LATENCY_WINDOW = 300.0
_LATENCY_STEP = 10.0  # seconds between two samples of latencies
_HISTORY = 60  # past values, one a second


@dataclass(frozen=True, slots=True)
class Rate:
    """What a model does now.

    Attributes:
        requests: that end in a second.
        input, output: tokens a second; output counts what streams as it comes.
        first_token: seconds until the first token of a stream, which 95 of 100 streams of the last minutes kept; None
            where none began.
    """

    requests: float = 0.0
    input: float = 0.0
    output: float = 0.0
    first_token: float | None = None


class Rates:
    """Fed once a second."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Mapping[str, Totals]]] = deque()
        self._latencies: deque[tuple[float, Mapping[str, Sequence[int]]]] = deque()
        self.history: deque[float] = deque(maxlen=_HISTORY)

    def sample(self, now: float, totals: Mapping[str, Totals], streaming: Mapping[str, int]) -> None:
        """Take the sums as they are.

        Args:
            now: seconds.
            totals: by model.
            streaming: tokens of streams under way, by model; once they end they are in `totals`.
        """
        for model, tokens in streaming.items():
            if model in totals:
                totals[model].output += tokens
        totals = {**{model: Totals(output=tokens) for model, tokens in streaming.items()}, **totals}
        self._samples.append((now, totals))
        while len(self._samples) > 2 and self._samples[1][0] <= now - _WINDOW:
            self._samples.popleft()
        if not self._latencies or now - self._latencies[-1][0] >= _LATENCY_STEP:
            self._latencies.append((now, {model: one.first_token for model, one in totals.items()}))
        while len(self._latencies) > 1 and self._latencies[1][0] <= now - _LATENCY_WINDOW:
            self._latencies.popleft()
        self.history.append(round(sum(self.of(model).output for model in totals), 1))

    def of(self, model: str) -> Rate:
        """What a model does; nothing before two samples were taken."""
        if len(self._samples) < 2:
            return Rate()
        (before, old), (now, new) = self._samples[0], self._samples[-1]
        first, last = old.get(model, Totals()), new.get(model, Totals())
        seconds = max(now - before, 0.001)
        counts = self._latencies[0][1].get(model, [0] * len(last.first_token))
        return Rate(
            max(last.requests - first.requests, 0) / seconds,
            max(last.input - first.input, 0) / seconds,
            max(last.output - first.output, 0) / seconds,
            quantile([b - a for a, b in zip(counts, last.first_token, strict=True)], FIRST_TOKEN, 0.95),
        )


def quantile(counts: Sequence[int], bounds: Sequence[float], share: float) -> float | None:
    """The value that a share of all observations kept, as Prometheus's `histogram_quantile` takes it from buckets."""
    if not sum(counts):
        return None
    rank, sums = share * sum(counts), list(accumulate(counts))
    bucket = bisect_left(sums, rank)
    if bucket >= len(bounds):
        return bounds[-1]
    low, below = (bounds[bucket - 1], sums[bucket - 1]) if bucket else (0.0, 0)
    return low + (bounds[bucket] - low) * (rank - below) / counts[bucket]
