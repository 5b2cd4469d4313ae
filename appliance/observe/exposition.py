"""The page for Prometheus, made in slices: five thousand series in one go would hold up every stream for 50 ms.

The library renders each slice, so escapes and numbers are its own; only what it puts around a family is cut away
where one slice follows another.
"""

from collections.abc import Iterable, Sequence

import trio
from prometheus_client import Metric
from prometheus_client import exposition as text
from prometheus_client.openmetrics import exposition as openmetrics

from appliance.observe.families import Buckets, Cell, Family, Traced
from appliance.observe.process import Process

_SLICE = 20  # samples rendered at a stretch, at 5 to 10 µs each; a histogram of two dozen is never torn apart

AnyFamily = Family[Cell] | Family[Buckets] | Family[Traced]


async def render(process: Process, families: Sequence[AnyFamily], accept: str | None) -> tuple[bytes, str]:
    """The page and its content type: OpenMetrics if `accept` asks for it, else the text format 0.0.4."""
    encode, content_type = _encode_text, text.CONTENT_TYPE_PLAIN_0_0_4
    if accept is not None and "application/openmetrics-text" in accept:
        encode, content_type = _encode_openmetrics, openmetrics.CONTENT_TYPE_LATEST
    end = encode([])
    page = [encode(await process.collect_in_slices()).removesuffix(end)]
    for family in families:
        head = encode(family.describe()).removesuffix(end)
        page.append(head)
        for part in family.parts(_SLICE):
            page.append(encode([part]).removesuffix(end).removeprefix(head))
            await trio.lowlevel.checkpoint()
    page.append(end)
    return b"".join(page), content_type


class _Collected:
    """What the library renders: anything that collects."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _encode_text(metrics: Iterable[Metric]) -> bytes:
    return text.generate_latest(_Collected(metrics))


def _encode_openmetrics(metrics: Iterable[Metric]) -> bytes:
    body: bytes = openmetrics.generate_latest(_Collected(metrics))  # type: ignore[no-untyped-call]
    return body
