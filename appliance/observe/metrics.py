"""Every metric of the product, its labels and buckets; nowhere else.

Label values are closed sets or names from the configuration: a model name that a client made up is "_unknown", and no
request id, address or text of a user is ever a label. Names of the OpenTelemetry GenAI conventions where they exist.
"""

import time
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry

from appliance.domain.status import BackendStatus
from appliance.errors import TABLE
from appliance.observe.exchange_metrics import CODES, ExchangeMetrics
from appliance.observe.exposition import AnyFamily, render
from appliance.observe.families import Cell, Grouped, Watched
from appliance.observe.gpu_metrics import GpuMetrics
from appliance.observe.host import HostMetrics
from appliance.observe.log import ExchangeRecord
from appliance.observe.maker import Maker
from appliance.observe.process import Process
from appliance.observe.recording_metrics import RecordingMetrics
from appliance.observe.replica_metrics import ReplicaMetrics
from appliance.observe.sink import lines_dropped
from appliance.observe.standing import Standing

_WAIT = tuple(0.01 * 2**n for n in range(15))  # 10 ms to 164 s
_OVERHEAD = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
_METHODS = {name: name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}

_REFUSALS = frozenset({"limit", "address_limit", "handshake"})


class Metrics:
    """The registry and one method for each thing that can happen; only the event loop calls them.

    Attributes:
        registry: holds every family, for whoever reads single values or renders all at once.
        exchanges: those of exchanges.
        replicas: those of replicas and their engines.
        gpus: those of the GPUs.
        recording: those of the files that we keep.
        standing: what others know and is read at each scrape.
        host: those of the machine; whoever looks at it writes them.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._process = Process()
        self.registry.register(self._process)
        self._make = Maker(self.registry)
        self.exchanges = ExchangeMetrics(self._make)
        self.host = HostMetrics(self._make)
        self.replicas = ReplicaMetrics(self._make)
        self._guarding()
        self._targets()
        self._door()
        self.gpus = GpuMetrics(self._make)
        self.recording = RecordingMetrics(self._make)
        self.standing = Standing(self._make)

    def _guarding(self) -> None:
        self._evaluations = Grouped(
            "appliance_guardrail_evaluations_total",
            "Texts that a guardrail looked at, and what it did.",
            ("guardrail", "on", "action"),
        )
        self._make.add(self._evaluations)
        self._findings = self._make.counter(
            "appliance_guardrail_findings_total", "What guardrails found.", "guardrail", "on", "category"
        )
        self._looking = self._make.histogram(
            "appliance_guardrail_seconds",
            "Time that guardrails took for a close look at one request, or to ask a model.",
            _OVERHEAD,
            "check",
            "on",
        )

    def _targets(self) -> None:
        self._upstream_errors = self._make.counter(
            "appliance_upstream_errors_total", "Failed attempts.", "target", "reason"
        )
        self._retries = self._make.counter(
            "appliance_retries_total",
            "Second attempts, at another target or at the next process of this one.",
            "target",
            "reason",
        )
        self._circuit = self._make.gauge(
            "appliance_circuit_state",
            "Breaker of a target that has failed: 0 closed, 1 half open, 2 open.",
            "target",
        )
        self._depth = self._make.gauge("appliance_queue_depth", "Requests that wait for a slot.", "target")
        self._queue_wait = self._make.histogram(
            "appliance_queue_wait_seconds", "Time in line of each request that had to wait for a slot.", _WAIT, "target"
        )
        self._backend_up = self._make.gauge(
            "appliance_backend_up", "1 while the backend's last probe succeeded.", "backend"
        )
        self._probes_failed = self._make.counter(
            "appliance_backend_probe_failures_total", "Probes of a backend that failed.", "backend"
        )
        self._loads = self._make.counter(
            "appliance_config_loads_total", "Configurations that were read at the start or later.", "result"
        )
        for result in ("ok", "refused"):
            self._loads[result,].value = 0  # there from the start: what rises from nothing has not risen for Prometheus
        self._load_ok = self._make.gauge(
            "appliance_config_last_load_ok",
            "1 when the configuration that was read last is in effect, 0 if it was refused.",
        )
        self._load_ok[()].value = 1
        self._loaded = self._make.gauge(
            "appliance_config_loaded_timestamp_seconds", "When the configuration in effect was read, Unix time."
        )
        self._config = self._make.gauge(
            "appliance_config_info",
            "Always 1; tells the configuration in effect from any other, but for secrets.",
            "digest",
        )
        self._build = self._make.gauge("appliance_build_info", "Always 1; the version is the label.", "version")

    def _door(self) -> None:
        self._http = self._make.counter(
            "appliance_http_requests_total", "HTTP requests by route template.", "route", "method", "code"
        )
        self._connections = Watched("gauge", "appliance_client_connections", "Connections of clients.", lambda: 0)
        self._make.add(self._connections)
        self._refused = self._make.counter(
            "appliance_connections_refused_total", "Connections that were closed before any request.", "reason"
        )
        self._bad = self._make.counter(
            "appliance_bad_requests_total", "Requests refused before any route was known.", "code"
        )
        self._stalls = self._make.counter("appliance_client_stalls_total", "Clients cut because they stopped reading.")
        self._broken = self._make.counter(
            "appliance_connection_errors_total", "Bugs of ours that ended one connection; the log has more."
        )
        self._make.add(
            Watched(
                "counter", "appliance_log_lines_dropped_total", "Log lines that could not be written.", lines_dropped
            )
        )

    @property
    def families(self) -> Sequence[AnyFamily]:
        """All of them, in the order in which they are told."""
        return self._make.families

    def build_info(self, version: str) -> None:
        """Say which version runs."""
        self._build[version,].value = 1

    def exchange_started(self, model: str) -> None:
        """An exchange for a model that exists is under way."""
        self.exchanges.started(model)

    def exchange_ended(self, record: ExchangeRecord, *, counted: bool) -> None:
        """An exchange is over; `counted` when `exchange_started` was called for it."""
        self.exchanges.ended(record, counted=counted)

    def guardrail_looked(self, guardrail: str, side: str, action: str) -> None:
        """A guardrail has looked at all of a request's "input" or "output"; "pass", what it did, or "error"."""
        self._evaluations.series[guardrail, side, action].value += 1

    def passed(self, guardrails: Sequence[str], side: str) -> Cell:
        """Where it is counted that all of a model's guardrails have looked at once and found nothing.

        How long that takes is not measured: some 10 µs, of which the measuring would be a fifth.
        """
        return self._evaluations.together[tuple((name, side, "pass") for name in guardrails)]

    def guardrail_found(self, guardrail: str, side: str, category: str, times: int) -> None:
        """A guardrail found something of a category."""
        self._findings[guardrail, side, category].value += times

    def guardrail_took(self, check: str, side: str, seconds: float) -> None:
        """A check took so long: "text" is all patterns at once, else the name of a guardrail that asked a model."""
        self._looking[check, side].observe(seconds)

    def client_disconnected(self, model: str, phase: str) -> None:
        """A client left while its exchange was in a phase."""
        self.exchanges.client_disconnected(model, phase)

    def http_request(self, route: str, method: str, status: int) -> None:
        """Any HTTP request was answered; an odd method is counted as OTHER, an odd status as other."""
        self._http[route, _METHODS.get(method, "OTHER"), CODES.get(status, "other")].value += 1

    def upstream_failed(self, target: str, reason: str) -> None:
        """An attempt at a target failed."""
        self._upstream_errors[target, reason].value += 1

    def retried(self, target: str, reason: str) -> None:
        """Another target is tried because this one failed."""
        self._retries[target, reason].value += 1

    def circuit_changed(self, target: str, state: int) -> None:
        """The breaker of a target is closed (0), half open (1) or open (2)."""
        self._circuit[target,].value = state

    def queue_joined(self, target: str, waiting: int) -> None:
        """A request stands in line; so many wait now."""
        self._depth[target,].value = waiting

    def queue_left(self, target: str, waiting: int, seconds: float) -> None:
        """A request waits no more, whatever for; so many wait still."""
        self._depth[target,].value = waiting
        self._queue_wait[target,].observe(seconds)

    def backend_seen(self, row: BackendStatus) -> None:
        """A backend's row was written; a watcher of the fleet table."""
        self._backend_up[row.name,].value = bool(row.healthy)
        self._probes_failed[row.name,].value += row.healthy is False

    def row_dropped(self, name: str) -> None:
        """A replica or a backend is no more: so are its series; a watcher of the fleet table."""
        self.replicas.dropped(name)
        self._backend_up.pop((name,), None)
        self._probes_failed.pop((name,), None)

    def config_loaded(self, *, ok: bool, at: float, digest: str = "") -> None:
        """A configuration with this digest was put into effect, or refused, at a time (seconds since 1970)."""
        self._loads["ok" if ok else "refused",].value += 1
        self._load_ok[()].value = ok
        if ok:
            self._loaded[()].value = at
            self._config.clear()
            self._config[digest,].value = 1

    def watch_connections(self, count: Callable[[], int]) -> None:
        """From now on the number of client connections is read there at each scrape."""
        self._connections.read = count

    def connection_refused(self, reason: str) -> None:
        """A connection was closed before any request: "limit", "address_limit" (too many) or "handshake" (no TLS)."""
        self._refused[reason if reason in _REFUSALS else "other",].value += 1

    def bad_request(self, code: str) -> None:
        """A request was refused before any route was known, with a code of `errors.TABLE`."""
        self._bad[code if code in TABLE else "other",].value += 1

    def client_stalled(self) -> None:
        """A client was cut because it did not read its answer."""
        self._stalls[()].value += 1

    def connection_error(self) -> None:
        """A bug of ours was contained at the boundary of one connection."""
        self._broken[()].value += 1

    async def render(self, accept: str | None) -> tuple[bytes, str]:
        """The page for Prometheus and its content type; other tasks run between its slices."""
        started = time.monotonic()
        page = await render(self._process, self._make.families, accept)
        self.standing.rendered(started, sum(len(family.series) for family in self._make.families))
        return page
