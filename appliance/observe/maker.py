"""Makes metrics: every family in one place, in the order in which they are told."""

from collections.abc import Callable
from typing import Any, Literal

from prometheus_client import CollectorRegistry

from appliance.observe.exposition import AnyFamily
from appliance.observe.families import Buckets, Cell, Histogram, Numbers, Series, Traceable, Traced


class Maker:
    """Makes families and keeps them.

    Attributes:
        registry: holds every family, for whoever reads single values or renders all at once.
        families: in the order in which they were made.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.families: list[AnyFamily] = []

    def counter(self, name: str, text: str, *labels: str) -> Series[Cell]:
        """A number that only rises."""
        return self._numbers("counter", name, text, labels)

    def gauge(self, name: str, text: str, *labels: str) -> Series[Cell]:
        """A number that rises and falls."""
        return self._numbers("gauge", name, text, labels)

    def histogram(self, name: str, text: str, bounds: tuple[float, ...], *labels: str) -> Series[Buckets]:
        """A distribution; `bounds` are inclusive upper bounds, rising."""
        family = Histogram(name, text, bounds, labels, Buckets)
        self.add(family)
        return family.series

    def traceable(
        self,
        name: str,
        text: str,
        bounds: tuple[float, ...],
        *labels: str,
        named: Callable[[Any], tuple[dict[str, str], float] | None],
    ) -> Series[Traced]:
        """A distribution with one observation of each bucket named; see `families.Traceable`."""
        family = Traceable(name, text, bounds, labels, named)
        self.add(family)
        return family.series

    def add(self, family: AnyFamily) -> None:
        """Keep a family that somebody else has made."""
        self.families.append(family)
        self.registry.register(family)

    def _numbers(
        self, kind: Literal["counter", "gauge"], name: str, text: str, labels: tuple[str, ...]
    ) -> Series[Cell]:
        family = Numbers(kind, name, text, labels)
        self.add(family)
        return family.series
