"""Panels that many pages have, each shape written once: rates, rises, levels and quantiles, named by their labels."""

from typing import Any, Literal

from dashboards.author.page import OURS, RATE
from dashboards.author.panels import Panel, Query
from dashboards.author.queries import now, quantile, rate, rise

Level = Literal["max", "min", "sum"]


def legend(by: str) -> str:
    """What a line is called: the values of its labels."""
    return " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(",") if label.strip())


def rated(metric: str, by: str, *matchers: str, words: str = "") -> Query:
    """How much a counter rises a second, a line for each value of the labels."""
    return Query(rate(metric, by, *matchers), f"{legend(by)} {words}".strip())


def risen(metric: str, by: str, *matchers: str, over: str = RATE, words: str = "") -> Query:
    """How much a counter has risen in the time of a point."""
    return Query(rise(metric, by, over, *matchers), f"{legend(by)} {words}".strip())


def level(metric: str, by: str, *matchers: str, of: Level = "max", words: str = "") -> Query:
    """Where a gauge stands; of series with the same labels, the greatest one, the least one or the sum."""
    if of == "sum":
        return Query(now(metric, by, *matchers), f"{legend(by)} {words}".strip())
    selector = ", ".join((OURS, *matchers))
    return Query(f"{of} by ({by}) ({metric}{{{selector}}})", f"{legend(by)} {words}".strip())


def quantiles(metric: str, by: str, *matchers: str, shares: tuple[float, ...] = (0.5, 0.95, 0.99)) -> list[Query]:
    """Quantiles of a histogram."""
    return [Query(quantile(share, metric, by, *matchers), f"{legend(by)} p{share * 100:g}".strip()) for share in shares]


def ratio(part: str, whole: str, by: str, *matchers: str) -> Query:
    """What share one counter is of another one."""
    return Query(f"{rate(part, by, *matchers)} / {rate(whole, by, *matchers)}", legend(by))


def rates(title: str, about: str, metric: str, by: str, *matchers: str, unit: str = "reqps", **look: Any) -> Panel:
    """A panel of one counter's rates."""
    return Panel(title, about, [rated(metric, by, *matchers)], unit=unit, **look)


def rises(title: str, about: str, metric: str, by: str, *matchers: str, over: str = RATE, **look: Any) -> Panel:
    """A panel of one counter's rises."""
    return Panel(title, about, [risen(metric, by, *matchers, over=over)], **look)


def levels(title: str, about: str, metric: str, by: str, *matchers: str, of: Level = "max", **look: Any) -> Panel:
    """A panel of one gauge."""
    return Panel(title, about, [level(metric, by, *matchers, of=of)], **look)


def circuits() -> Panel:
    """The state of each breaker."""
    about = "0 closed, 1 half open, 2 open: an open one gets no requests but a probe."
    return levels("Circuits", about, "appliance_circuit_state", "target")


def in_line() -> Panel:
    """Who waits for a slot."""
    about = "Requests that wait for a slot now."
    return levels("In line", about, "appliance_queue_depth", "target", of="sum", kind="stack")


def time_in_line(*shares: float) -> Panel:
    """How long those waited who had to."""
    about = "Of requests that had to wait for a slot."
    found = quantiles("appliance_queue_wait_seconds", "target", shares=shares)
    return Panel("Time in line", about, found, unit="s")


def failed_attempts() -> Panel:
    """Attempts that brought no answer."""
    about = "Attempts that brought no answer. One with another healthy target is retried there."
    return rates("Failed attempts", about, "appliance_upstream_errors_total", "target, reason")


def needed_memory() -> Panel:
    """What replicas need of GPUs."""
    about = "GPU memory that a replica needs on each of its GPUs, declared or learned."
    metric = "appliance_replica_gpu_memory_bytes"
    return levels("Needed by our replicas", about, metric, "replica", unit="bytes", kind="stack")
