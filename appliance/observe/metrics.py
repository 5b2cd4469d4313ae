"""Every metric of the product, its labels and buckets; nowhere else.

Label values are closed sets or names from the configuration: a model name that a client made up is "_unknown", and no
request id, address or text of a user is ever a label. Names of the OpenTelemetry GenAI conventions where they exist.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry

from appliance.domain.gpus import Gpu
from appliance.domain.status import BackendStatus, ReplicaState, ReplicaStatus
from appliance.errors import TABLE
from appliance.observe.exposition import AnyFamily, render
from appliance.observe.families import Buckets, Cell, Histogram, Numbers, Series, Watched
from appliance.observe.log import ExchangeRecord
from appliance.observe.process import Process
from appliance.observe.sink import lines_dropped

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
_WAIT = tuple(0.01 * 2**n for n in range(15))  # 10 ms to 164 s
_OVERHEAD = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
_GEN_AI = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
_METHODS = {name: name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}
_CODES = {status: str(status) for status in range(100, 600)}

_REFUSALS = frozenset({"limit", "address_limit", "handshake"})


@dataclass(slots=True)
class _End:
    """Where an exchange that ended in one way is counted."""

    requests: Cell
    duration: Buckets
    rejected: Cell | None


def _provider(engine: str) -> str:
    return engine.replace(".", "_") or "_none"


class Metrics:
    """The registry and one method for each thing that can happen; only the event loop calls them.

    Attributes:
        registry: holds every family, for whoever reads single values or renders all at once.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._process = Process()
        self.registry.register(self._process)
        self._families: list[AnyFamily] = []
        self._ended: dict[tuple[str, str, str, int, str, str], _End] = {}
        self._exchanges()
        self._guarding()
        self._targets()
        self._door()
        self._hardware()

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

    def _guarding(self) -> None:
        self._evaluations = self._counter(
            "appliance_guardrail_evaluations_total",
            "Texts that a guardrail looked at, and what it did.",
            "guardrail",
            "on",
            "action",
        )
        self._findings = self._counter(
            "appliance_guardrail_findings_total", "What guardrails found.", "guardrail", "on", "category"
        )
        self._looking = self._histogram(
            "appliance_guardrail_seconds", "Time that guardrails took for one request.", _OVERHEAD, "check", "on"
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
        self._circuit = self._gauge(
            "appliance_circuit_state",
            "Breaker of a target that has failed: 0 closed, 1 half open, 2 open.",
            "target",
        )
        self._depth = self._gauge("appliance_queue_depth", "Requests that wait for a slot.", "target")
        self._queue_wait = self._histogram(
            "appliance_queue_wait_seconds", "Time in line of each request that had to wait for a slot.", _WAIT, "target"
        )
        self._backend_up = self._gauge("appliance_backend_up", "1 while the backend's last probe succeeded.", "backend")
        self._loads = self._counter(
            "appliance_config_loads_total", "Configurations that were read at the start or later.", "result"
        )
        self._loaded = self._gauge(
            "appliance_config_loaded_timestamp_seconds", "When the configuration in effect was read, Unix time."
        )
        self._build = self._gauge("appliance_build_info", "Always 1; the version is the label.", "version")

    def _door(self) -> None:
        self._connections = Watched("gauge", "appliance_client_connections", "Connections of clients.", lambda: 0)
        self._add(self._connections)
        self._refused = self._counter(
            "appliance_connections_refused_total", "Connections that were closed before any request.", "reason"
        )
        self._bad = self._counter(
            "appliance_bad_requests_total", "Requests refused before any route was known.", "code"
        )
        self._stalls = self._counter("appliance_client_stalls_total", "Clients cut because they stopped reading.")
        self._broken = self._counter(
            "appliance_connection_errors_total", "Bugs of ours that ended one connection; the log has more."
        )
        self._add(
            Watched(
                "counter", "appliance_log_lines_dropped_total", "Log lines that could not be written.", lines_dropped
            )
        )

    def _hardware(self) -> None:
        self._held = self._gauge(
            "appliance_replica_gpu_memory_bytes",
            "GPU memory that a replica needs on each of its GPUs, declared or learned.",
            "runtime",
            "replica",
        )
        self._gpu_info = self._gauge("appliance_gpu_info", "Always 1; what a GPU is.", "gpu", "uuid", "name")
        self._gpu_up = self._gauge("appliance_gpu_up", "1 while a GPU answers and has no fault.", "gpu")
        self._gpu_total = self._gauge("appliance_gpu_memory_total_bytes", "Memory of a GPU.", "gpu")
        self._gpu_used = self._gauge("appliance_gpu_memory_used_bytes", "Memory of a GPU in use, by anybody.", "gpu")
        self._gpu_busy = self._gauge("appliance_gpu_utilization_ratio", "Share of time a GPU was busy.", "gpu")
        self._gpu_heat = self._gauge("appliance_gpu_temperature_celsius", "Temperature of a GPU.", "gpu")
        self._gpu_power = self._gauge("appliance_gpu_power_watts", "Power that a GPU draws.", "gpu")
        self._gpu_timeouts = self._counter(
            "appliance_gpu_driver_timeouts_total", "Questions that the GPU driver did not answer in time."
        )

    def gpus_seen(self, gpus: Sequence[Gpu], timeouts: int) -> None:
        """The GPUs were looked at; `timeouts` is how often their driver did not answer so far."""
        self._gpu_timeouts[()].value = timeouts
        for gpu in gpus:
            key = (str(gpu.index),)
            self._gpu_info[*key, gpu.uuid, gpu.name].value = 1
            self._gpu_up[key].value = gpu.known and not gpu.fault
            self._gpu_total[key].value = gpu.total
            self._gpu_used[key].value = gpu.used
            for series, value in (
                (self._gpu_busy, None if gpu.utilization is None else gpu.utilization / 100),
                (self._gpu_heat, gpu.temperature),
                (self._gpu_power, gpu.power),
            ):
                if value is not None:
                    series[key].value = value

    def _counter(self, name: str, text: str, *labels: str) -> Series[Cell]:
        return self._numbers("counter", name, text, labels)

    def _gauge(self, name: str, text: str, *labels: str) -> Series[Cell]:
        return self._numbers("gauge", name, text, labels)

    def _numbers(
        self, kind: Literal["counter", "gauge"], name: str, text: str, labels: tuple[str, ...]
    ) -> Series[Cell]:
        family = Numbers(kind, name, text, labels)
        self._add(family)
        return family.series

    def _histogram(self, name: str, text: str, bounds: tuple[float, ...], *labels: str) -> Series[Buckets]:
        family = Histogram(name, text, bounds, labels)
        self._add(family)
        return family.series

    def _add(self, family: AnyFamily) -> None:
        self._families.append(family)
        self.registry.register(family)

    def build_info(self, version: str) -> None:
        """Say which version runs."""
        self._build[version,].value = 1

    def exchange_started(self, model: str) -> None:
        """An exchange for a model that exists is under way."""
        self._in_flight[model,].value += 1

    def exchange_ended(self, record: ExchangeRecord, *, counted: bool) -> None:
        """An exchange is over; `counted` when `exchange_started` was called for it."""
        model = record.model
        if counted:
            self._in_flight[model,].value -= 1
        # All of these are label values, so there are as many as there are series.
        kind = (model, record.operation, record.engine, record.status, record.outcome, record.error_code)
        ended = self._ended.get(kind) or self._end(*kind)
        ended.requests.value += 1
        ended.duration.observe(record.duration_s)
        if record.ttft_s is not None:
            self._first_token[record.operation, _provider(record.engine), model].observe(record.ttft_s)
        if ended.rejected is not None:
            ended.rejected.value += 1
        usage = record.usage
        tokens = self._estimated if usage.estimated else self._tokens
        if usage.input:
            tokens[model, "input"].value += usage.input
        if usage.output:
            tokens[model, "output"].value += usage.output
        if usage.cached:
            tokens[model, "cached"].value += usage.cached

    def _end(self, model: str, operation: str, engine: str, status: int, outcome: str, code: str) -> "_End":
        """The cells of one way to end, looked up once."""
        error_type = code or ("" if outcome == "ok" else outcome)
        ended = self._ended[model, operation, engine, status, outcome, code] = _End(
            self._requests[model, operation, _CODES.get(status, "other")],
            self._duration[operation, _provider(engine), model, error_type],
            self._rejected[model, code] if code else None,
        )
        return ended

    def guardrail_looked(self, guardrail: str, side: str, action: str) -> None:
        """A guardrail has looked at all of a request's "input" or "output"; "pass", what it did, or "error"."""
        self._evaluations[guardrail, side, action].value += 1

    def guardrail_found(self, guardrail: str, side: str, category: str, times: int) -> None:
        """A guardrail found something of a category."""
        self._findings[guardrail, side, category].value += times

    def guardrail_took(self, check: str, side: str, seconds: float) -> None:
        """A check took so long: "text" is all patterns at once, else the name of a guardrail that asked a model."""
        self._looking[check, side].observe(seconds)

    def client_disconnected(self, model: str, phase: str) -> None:
        """A client left while its exchange was in a phase."""
        self._gone[model, phase].value += 1

    def http_request(self, route: str, method: str, status: int) -> None:
        """Any HTTP request was answered; an odd method is counted as OTHER, an odd status as other."""
        self._http[route, _METHODS.get(method, "OTHER"), _CODES.get(status, "other")].value += 1

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

    def replica_changed(self, before: ReplicaStatus | None, after: ReplicaStatus) -> None:
        """A replica's row was written; a watcher of the fleet table."""
        for state in ReplicaState:
            self._state[after.runtime, after.replica, str(state)].value = state is after.state
        self._held[after.runtime, after.replica].value = after.memory
        crashes = after.restarts - (before.restarts if before else 0)
        self._restarts[after.runtime, after.replica, "crash"].value += 0  # a series that is there before the first
        if crashes > 0:
            self._restarts[after.runtime, after.replica, after.cause or "crash"].value += crashes

    def backend_seen(self, row: BackendStatus) -> None:
        """A backend's row was written; a watcher of the fleet table."""
        self._backend_up[row.name,].value = bool(row.healthy)

    def row_dropped(self, name: str) -> None:
        """A replica or a backend is no more: so are its series; a watcher of the fleet table."""
        for series in (self._state, self._restarts, self._held):
            for labels in [labels for labels in series if labels[1] == name]:
                del series[labels]
        self._backend_up.pop((name,), None)

    def config_loaded(self, *, ok: bool, at: float) -> None:
        """A configuration was put into effect, or refused, at a time (seconds since 1970)."""
        self._loads["ok" if ok else "refused",].value += 1
        if ok:
            self._loaded[()].value = at

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
        return await render(self._process, self._families, accept)
