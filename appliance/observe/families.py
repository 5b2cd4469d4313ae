"""Where the numbers live: a family is one metric, a cell is one of its time series.

Plain Python numbers, because only the event loop writes them: no lock, and one look-up in a dict for each event.
Prometheus's own objects cost five times as much. A family is a collector like any other (`CollectorRegistry.register`).
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

from prometheus_client import Metric
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

Kind = Literal["counter", "gauge", "histogram"]


class Cell:
    """One number of a counter or a gauge."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0


class Buckets:
    """One distribution of a histogram.

    Attributes:
        bounds: inclusive upper bounds, rising; what is greater than the last goes to +Inf.
        counts: observations by bucket, not cumulative; one more than `bounds`.
        total: the sum of all observations.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Traced(Buckets):
    """A distribution that remembers one observation of each bucket.

    Attributes:
        last: by bucket, whatever the last observation was of; None where there was none.
    """

    __slots__ = ("last",)

    def __init__(self, bounds: Sequence[float]) -> None:
        super().__init__(bounds)
        self.last: list[object] = [None] * (len(bounds) + 1)

    def observe_of(self, value: float, what: object) -> None:
        """Count one observation, and remember what it was of; the same as `observe` otherwise, but for a call less."""
        at = bisect_left(self.bounds, value)
        self.counts[at] += 1
        self.total += value
        self.last[at] = what


C = TypeVar("C")  # Cell or Buckets


class Series(dict[tuple[str, ...], C]):
    """The cells of a family by their label values; a cell comes into being when it is first asked for."""

    def __init__(self, labels: int, make: Callable[[], C]) -> None:
        super().__init__()
        self._labels = labels
        self._make = make

    def __missing__(self, labels: tuple[str, ...]) -> C:
        if len(labels) != self._labels:
            raise ValueError(f"{len(labels)} label values where {self._labels} are needed")
        cell = self[labels] = self._make()
        return cell


class Family(Generic[C]):
    """One metric; `Numbers`, `Histogram` or `Watched`.

    Args:
        kind: as Prometheus names it.
        name: of a counter, with its `_total`.
        text: the help line.
        labels: names, in the order in which `series` takes their values.

    Attributes:
        labels: as given.
    """

    def __init__(self, kind: Kind, name: str, text: str, labels: Sequence[str], make: Callable[[], C]) -> None:
        self._type = kind
        self._name = name.removesuffix("_total") if kind == "counter" else name
        self._text = text
        self.labels = tuple(labels)
        self.series: Series[C] = Series(len(labels), make)
        if not labels:
            self.series[()]  # without labels there is one series, and it is there from the start

    def describe(self) -> list[Metric]:
        """The family without its samples; part of what a collector is."""
        return [Metric(self._name, self._text, self._type)]

    def collect(self) -> list[Metric]:
        """The family with all its samples; what a collector is."""
        (metric,) = self.describe()
        for part in self.parts(at_most=1_000):
            metric.samples += part.samples
        return [metric]

    def parts(self, at_most: int) -> Iterator[Metric]:
        """The family in pieces of about `at_most` samples; the samples of one cell are never torn apart."""
        (part,) = self.describe()
        for values, cell in list(self.series.items()):
            self._tell(part, dict(zip(self.labels, values, strict=True)), cell)
            if len(part.samples) >= at_most:
                yield part
                (part,) = self.describe()
        yield part

    def _tell(self, part: Metric, labels: dict[str, str], cell: C) -> None:
        raise NotImplementedError


class Numbers(Family[Cell]):
    """A counter or a gauge."""

    def __init__(self, kind: Literal["counter", "gauge"], name: str, text: str, labels: Sequence[str]) -> None:
        super().__init__(kind, name, text, labels, Cell)
        self._sample = name

    def _tell(self, part: Metric, labels: dict[str, str], cell: Cell) -> None:
        part.add_sample(self._sample, labels, cell.value)


class Grouped(Numbers):
    """A counter of what often happens to several of its series at once.

    Attributes:
        together: how often it happened to all of a group since the last look, by their label values: one number for all
            of them.
    """

    def __init__(self, name: str, text: str, labels: Sequence[str]) -> None:
        super().__init__("counter", name, text, labels)
        self.together: dict[tuple[tuple[str, ...], ...], Cell] = defaultdict(Cell)

    def parts(self, at_most: int) -> Iterator[Metric]:
        """As any family, with what happened to groups spread over their series."""
        for group, cell in self.together.items():
            for labels in group:
                self.series[labels].value += cell.value
            cell.value = 0
        return super().parts(at_most)


class Watched(Numbers):
    """A counter or a gauge without labels whose number somebody else keeps.

    Attributes:
        read: asked for the number at each scrape.
    """

    def __init__(self, kind: Literal["counter", "gauge"], name: str, text: str, read: Callable[[], float]) -> None:
        super().__init__(kind, name, text, ())
        self.read = read

    def _tell(self, part: Metric, labels: dict[str, str], cell: Cell) -> None:
        cell.value = self.read()
        super()._tell(part, labels, cell)


class Asked(Numbers):
    """A gauge or a counter with labels whose series somebody else keeps.

    Attributes:
        read: asked for all of them at each scrape, by label values.
        most: series that are told; of more, those with the greatest numbers.
        left_out: how many more there were at the last scrape.
        name: of the metric.
    """

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        most: int = 500,
        *,
        kind: Literal["counter", "gauge"] = "gauge",
    ) -> None:
        super().__init__(kind, name, text, labels)
        self.read: Callable[[], Mapping[tuple[str, ...], float]] = dict
        self.most = most
        self.left_out = 0
        self.name = name

    def parts(self, at_most: int) -> Iterator[Metric]:
        """See `Family`."""
        now = self.read()
        self.left_out = max(0, len(now) - self.most)
        told = now if len(now) <= self.most else sorted(now, key=lambda labels: -now[labels])[: self.most]
        self.series.clear()
        for labels in told:
            self.series[labels].value = now[labels]
        return super().parts(at_most)


B = TypeVar("B", bound=Buckets)


class Histogram(Family[B]):
    """A histogram; `bounds` are inclusive upper bounds, rising."""

    def __init__(self, name: str, text: str, bounds: Sequence[float], labels: Sequence[str], kind: type[B]) -> None:
        super().__init__("histogram", name, text, labels, lambda: kind(bounds))
        self._bounds = [floatToGoString(bound) for bound in (*bounds, float("inf"))]  # type: ignore[no-untyped-call]

    def _tell(self, part: Metric, labels: dict[str, str], cell: B) -> None:
        below = 0
        for number, (bound, count) in enumerate(zip(self._bounds, cell.counts, strict=True)):
            below += count
            exemplar = self._exemplar(cell, number)
            part.add_sample(f"{self._name}_bucket", labels | {"le": bound}, below, exemplar=exemplar)
        part.add_sample(f"{self._name}_count", labels, below)
        part.add_sample(f"{self._name}_sum", labels, cell.total)

    def _exemplar(self, cell: B, number: int) -> Exemplar | None:
        """One observation of a bucket, for who follows it into the log."""
        del cell, number
        return None


class Traceable(Histogram[Traced]):
    """A histogram whose buckets name one observation each.

    Args:
        named: the labels and the value of what was observed; None where it has no name.
    """

    def __init__(
        self,
        name: str,
        text: str,
        bounds: Sequence[float],
        labels: Sequence[str],
        named: Callable[[Any], tuple[dict[str, str], float] | None],
    ) -> None:
        super().__init__(name, text, bounds, labels, Traced)
        self._named = named

    def _exemplar(self, cell: Traced, number: int) -> Exemplar | None:
        what = cell.last[number]
        found = None if what is None else self._named(what)
        # Without its time: Prometheus takes that of the scrape, and knows the same one again by its labels.
        return None if found is None else Exemplar(*found)
