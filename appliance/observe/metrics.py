"""Every metric of the product, its labels and buckets; nowhere else.

Label values are closed sets or names from the configuration: a model name that a client made up is "_unknown", and no
request id, address or text of a user is ever a label. Names of the OpenTelemetry GenAI conventions where they exist.
"""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    exposition,
)
from prometheus_client.openmetrics import exposition as openmetrics

from appliance.domain.status import BackendStatus, ReplicaState, ReplicaStatus
from appliance.observe.log import ExchangeRecord

_DURATION = tuple(0.01 * 2**n for n in range(17))  # 10 ms to 655 s
_FIRST_TOKEN = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1,
    2.5,
    5,
    7.5,
    10,
    15,
    20,
    30,
    45,
    60,
)
_GEN_AI = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")


class Metrics:
    """The registry and one method for each thing that can happen."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        # The start times of counters: twice the lines, and nothing reads them.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        ProcessCollector(registry=self.registry)
        self._exchanges()
        self._targets()

    def _exchanges(self) -> None:
        self._requests = self._counter(
            "appliance_requests_total", "Exchanges by model and status.", "model", "operation", "code"
        )
        self._duration = self._histogram(
            "gen_ai_server_request_duration_seconds",
            "Client-visible duration of an exchange.",
            _DURATION,
            *_GEN_AI,
            "error_type",
        )
        self._first_token = self._histogram(
            "gen_ai_server_time_to_first_token_seconds",
            "From the request to the first streamed content.",
            _FIRST_TOKEN,
            *_GEN_AI,
        )
        self._tokens = self._counter("appliance_tokens_total", "Tokens as the engines reported them.", "model", "type")
        self._estimated = self._counter(
            "appliance_tokens_estimated_total", "Tokens counted by us because an exchange ended early.", "model", "type"
        )
        self._http = self._counter(
            "appliance_http_requests_total", "HTTP requests by route template.", "route", "method", "code"
        )
        self._in_flight = self._gauge("appliance_requests_in_flight", "Exchanges under way.", "model")
        self._gone = self._counter(
            "appliance_client_disconnects_total", "Clients that left, and when.", "model", "phase"
        )
        self._rejected = self._counter(
            "appliance_rejections_total", "Errors that we answered with ourselves.", "model", "reason"
        )

    def _targets(self) -> None:
        self._upstream_errors = self._counter("appliance_upstream_errors_total", "Failed attempts.", "target", "reason")
        self._retries = self._counter(
            "appliance_retries_total", "Second attempts at another target.", "target", "reason"
        )
        self._state = self._gauge(
            "appliance_replica_state", "1 for the replica's current state.", "runtime", "replica", "state"
        )
        self._restarts = self._counter(
            "appliance_replica_restarts_total",
            "Ends of a replica that nobody asked for.",
            "runtime",
            "replica",
            "reason",
        )
        self._backend_up = self._gauge("appliance_backend_up", "1 while the backend's last probe succeeded.", "backend")
        self._build = self._gauge("appliance_build_info", "Always 1; the version is the label.", "version")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    def build_info(self, version: str) -> None:
        """Say which version runs."""
        self._build.labels(version).set(1)

    def exchange_started(self, model: str) -> None:
        """An exchange for a model that exists is under way."""
        self._in_flight.labels(model).inc()

    def exchange_ended(self, record: ExchangeRecord, *, counted: bool) -> None:
        """An exchange is over; `counted` when `exchange_started` was called for it."""
        if counted:
            self._in_flight.labels(record.model).dec()
        self._requests.labels(record.model, record.operation, str(record.status)).inc()
        provider = record.engine.replace(".", "_") or "_none"
        gen_ai = (record.operation, provider, record.model)
        error_type = record.error_code or ("" if record.outcome == "ok" else record.outcome)
        self._duration.labels(*gen_ai, error_type).observe(record.duration_s)
        if record.ttft_s is not None:
            self._first_token.labels(*gen_ai).observe(record.ttft_s)
        if record.error_code:
            self._rejected.labels(record.model, record.error_code).inc()
        counter = self._estimated if record.usage.estimated else self._tokens
        for kind, number in (
            ("input", record.usage.input),
            ("output", record.usage.output),
            ("cached", record.usage.cached),
        ):
            if number:
                counter.labels(record.model, kind).inc(number)

    def client_disconnected(self, model: str, phase: str) -> None:
        """A client left while its exchange was in a phase."""
        self._gone.labels(model, phase).inc()

    def http_request(self, route: str, method: str, status: int) -> None:
        """Any HTTP request was answered; an odd method is counted as OTHER."""
        known = method if method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} else "OTHER"
        self._http.labels(route, known, str(status)).inc()

    def upstream_failed(self, target: str, reason: str) -> None:
        """An attempt at a target failed."""
        self._upstream_errors.labels(target, reason).inc()

    def retried(self, target: str, reason: str) -> None:
        """Another target is tried because this one failed."""
        self._retries.labels(target, reason).inc()

    def replica_changed(self, before: ReplicaStatus | None, after: ReplicaStatus) -> None:
        """A replica's row was written; a watcher of the fleet table."""
        for state in ReplicaState:
            self._state.labels(after.runtime, after.replica, str(state)).set(state is after.state)
        crashes = after.restarts - (before.restarts if before else 0)
        self._restarts.labels(after.runtime, after.replica, "crash").inc(max(0, crashes))

    def backend_seen(self, row: BackendStatus) -> None:
        """A backend's row was written; a watcher of the fleet table."""
        self._backend_up.labels(row.name).set(bool(row.healthy))

    def render(self, accept: str | None) -> tuple[bytes, str]:
        """The exposition and its content type: OpenMetrics if asked for, else the text format."""
        if accept is not None and "application/openmetrics-text" in accept:
            body: bytes = openmetrics.generate_latest(self.registry)  # type: ignore[no-untyped-call]
            return body, openmetrics.CONTENT_TYPE_LATEST
        return exposition.generate_latest(self.registry), exposition.CONTENT_TYPE_PLAIN_0_0_4
