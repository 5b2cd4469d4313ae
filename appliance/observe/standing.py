"""What others know and is read at each scrape.

What is ready, which certificates end when, how far quotas are used, connections to model servers.
"""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

import trio

from appliance.observe.families import Asked, Watched
from appliance.observe.maker import Maker

_MOST_KEYS = 200


class Standing:
    """The families. Who knows the numbers says so with the `watch_` methods; until then there are none."""

    def __init__(self, make: Maker) -> None:
        self._models = Asked("appliance_model_ready", "1 while a model can be asked, as /readyz says it.", ["model"])
        self._targets = Asked(
            "appliance_model_target_info",
            "Always 1; what a model stands for, to join what is told of models with what is told of targets.",
            ["model", "target", "upstream"],
        )
        self._phases = Asked(
            "appliance_requests_by_phase", "Exchanges under way by what they wait for now.", ["model", "phase"]
        )
        self._certificates = Asked(
            "appliance_tls_certificate_expiry_timestamp_seconds",
            "When a certificate that the door shows ends, Unix time.",
            ["certificate"],
        )
        self._quotas = {
            noun: Asked(
                f"appliance_{noun}_quota_used_ratio",
                f"Share of a {noun}'s tokens of this day or month that is used.",
                [noun, "span"],
                _MOST_KEYS,
            )
            for noun in ("key", "model")
        }
        self._connections = Asked(
            "appliance_upstream_connections",
            "Connections to model servers by what they do, and requests that wait for one.",
            ["upstream", "state"],
        )
        self._taken = Asked(
            "appliance_upstream_connections_taken_total",
            "Connections to model servers that requests took, by how they came about.",
            ["upstream", "how"],
            kind="counter",
        )
        known = (
            self._models,
            self._targets,
            self._phases,
            self._certificates,
            *self._quotas.values(),
            self._connections,
            self._taken,
        )
        for family in known:
            make.add(family)
        make.add(
            Watched("gauge", "appliance_ready", "1 while every model can be asked, as /readyz says it.", self._ready)
        )
        make.add(Watched("gauge", "appliance_tasks", "Tasks of the event loop.", _tasks))
        make.add(Watched("gauge", "appliance_threads", "Threads of the process.", _threads))
        left_out = Asked(
            "appliance_metrics_series_left_out",
            "Series that the page of metrics has no room for, by the metric that they belong to.",
            ["metric"],
        )
        left_out.read = lambda: {
            (family.name,): float(family.left_out) for family in make.families if isinstance(family, Asked)
        }
        make.add(left_out)
        self._series = make.gauge("appliance_metrics_series", "Series of the last page of metrics.")
        self._took = make.gauge(
            "appliance_metrics_render_seconds", "From the beginning to the end of the last page; others ran in between."
        )

    def watch_models(self, ready: Callable[[], Mapping[str, bool]]) -> None:
        """From now on this is asked which models are ready."""
        self._models.read = lambda: {(model,): float(is_ready) for model, is_ready in ready().items()}

    def watch_targets(self, targets: Callable[[], Mapping[tuple[str, ...], float]]) -> None:
        """From now on this is asked what models stand for: 1 by model, target and whose server that is."""
        self._targets.read = targets

    def watch_phases(self, phases: Callable[[], Mapping[tuple[str, ...], float]]) -> None:
        """From now on this is asked how many exchanges wait for what, by model and phase."""
        self._phases.read = phases

    def watch_certificates(self, expiries: Callable[[], Mapping[str, float]]) -> None:
        """From now on this is asked when the certificates end, seconds since 1970 by name."""
        self._certificates.read = lambda: {(name,): end for name, end in expiries().items()}

    def watch_quotas(self, shares: Callable[[], Mapping[tuple[str, str, str], float]]) -> None:
        """From now on this is asked what is used: by "key" or "model", name, and "day" or "month"."""
        for noun, family in self._quotas.items():
            family.read = partial(_quotas_of, noun, shares)

    def watch_connections(
        self,
        now: Callable[[], Mapping[tuple[str, ...], float]],
        taken: Callable[[], Mapping[tuple[str, ...], float]],
    ) -> None:
        """From now on these are asked about connections to model servers: what they do, and how they came about.

        Args:
            now: numbers by the server's name and "leased", "idle" or "waiting".
            taken: since the start, by the server's name and "opened", "reused" or "dead".
        """
        self._connections.read, self._taken.read = now, taken

    def rendered(self, started: float, series: int) -> None:
        """A page was begun at a time (monotonic seconds) and is done."""
        self._took[()].value = time.monotonic() - started
        self._series[()].value = series

    def _ready(self) -> float:
        return float(all(cell.value for cell in self._models.series.values()))


def _quotas_of(
    noun: str, shares: Callable[[], Mapping[tuple[str, str, str], float]]
) -> Mapping[tuple[str, ...], float]:
    return {(name, span): share for (of, name, span), share in shares().items() if of == noun}


def _tasks() -> float:
    try:
        return trio.lowlevel.current_statistics().tasks_living
    except RuntimeError:  # nobody runs, as where the library renders a page by itself
        return 0.0


def _threads() -> float:
    with suppress(OSError):  # where there is no /proc
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - half the price of a Path
    return 0.0
