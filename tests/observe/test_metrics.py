import io
import logging

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from appliance.domain.calls import Usage
from appliance.domain.status import BackendStatus
from appliance.domain.targets import Address, Endpoint
from appliance.observe.log import ExchangeRecord
from appliance.observe.metrics import Metrics
from appliance.observe.sink import configure

RECORD = ExchangeRecord(
    request_id="r1",
    key="team",
    model="m",
    operation="chat",
    target="t",
    engine="llama.cpp",
    status=200,
    outcome="ok",
    error_code="",
    stream=True,
    usage=Usage(9, 4, 2),
    ttft_s=0.03,
    duration_s=1.5,
    bytes_out=100,
    peer="10.0.0.1",
)
GEN_AI = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "llama_cpp", "gen_ai_request_model": "m"}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry)


def test_an_exchange_is_in_flight_until_it_ends(metrics: Metrics, registry: CollectorRegistry) -> None:
    def in_flight() -> float | None:
        return registry.get_sample_value("appliance_requests_in_flight", {"model": "m"})

    metrics.exchange_started("m")
    assert in_flight() == 1
    metrics.exchange_ended(RECORD, counted=True)
    assert in_flight() == 0


def test_an_exchange_that_never_started_leaves_in_flight_alone(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.exchange_ended(replace(RECORD, model="_unknown"), counted=False)
    assert registry.get_sample_value("appliance_requests_in_flight", {"model": "_unknown"}) is None


def test_an_exchange_is_counted_timed_and_billed(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.exchange_ended(RECORD, counted=False)
    value = registry.get_sample_value
    assert value("appliance_requests_total", {"model": "m", "operation": "chat", "code": "200"}) == 1
    assert value("gen_ai_server_request_duration_seconds_sum", GEN_AI | {"error_type": ""}) == 1.5
    assert value("gen_ai_server_time_to_first_token_seconds_sum", GEN_AI) == 0.03
    tokens = {
        kind: value("appliance_tokens_total", {"model": "m", "type": kind}) for kind in ("input", "output", "cached")
    }
    assert tokens == {"input": 9, "output": 4, "cached": 2}


def test_estimated_tokens_are_never_mixed_with_exact_ones(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.exchange_ended(replace(RECORD, usage=Usage(output=7, estimated=True)), counted=False)
    labels = {"model": "m", "type": "output"}
    assert registry.get_sample_value("appliance_tokens_estimated_total", labels) == 7
    assert registry.get_sample_value("appliance_tokens_total", labels) is None


def test_an_error_of_ours_is_a_rejection_with_its_code(metrics: Metrics, registry: CollectorRegistry) -> None:
    refused = replace(RECORD, status=503, outcome="error", error_code="queue_full", engine="", ttft_s=None)
    metrics.exchange_ended(refused, counted=False)
    assert registry.get_sample_value("appliance_rejections_total", {"model": "m", "reason": "queue_full"}) == 1
    labels = GEN_AI | {"gen_ai_provider_name": "_none", "error_type": "queue_full"}
    assert registry.get_sample_value("gen_ai_server_request_duration_seconds_count", labels) == 1


def test_what_happens_is_counted_under_its_labels(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.client_disconnected("m", "streaming")
    metrics.upstream_failed("b/m", "connect")
    metrics.retried("b/m", "503")
    value = registry.get_sample_value
    assert value("appliance_client_disconnects_total", {"model": "m", "phase": "streaming"}) == 1
    assert value("appliance_upstream_errors_total", {"target": "b/m", "reason": "connect"}) == 1
    assert value("appliance_retries_total", {"target": "b/m", "reason": "503"}) == 1


def test_guardrails_that_found_nothing_are_counted_one_by_one(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.guardrail_looked("pii", "input", "pass")
    metrics.passed(("pii", "words"), "input").value += 1
    metrics.passed(("pii",), "input").value += 1
    found = {
        name: registry.get_sample_value(
            "appliance_guardrail_evaluations_total", {"guardrail": name, "on": "input", "action": "pass"}
        )
        for name in ("pii", "words")
    }
    assert found == {"pii": 3, "words": 1}


def test_a_close_look_of_a_guardrail_is_timed(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.guardrail_took("text", "input", 0.001)
    metrics.guardrail_took("text", "input", 0.002)
    assert registry.get_sample_value("appliance_guardrail_seconds_count", {"check": "text", "on": "input"}) == 2


def test_a_made_up_method_is_no_label(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.http_request("/v1/models", "GET", 200)
    metrics.http_request("/v1/models", "BREW", 405)
    value = registry.get_sample_value
    assert value("appliance_http_requests_total", {"route": "/v1/models", "method": "GET", "code": "200"}) == 1
    assert value("appliance_http_requests_total", {"route": "/v1/models", "method": "BREW", "code": "405"}) is None


def test_a_backend_is_up_or_down(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.backend_seen(BackendStatus("b", "tgi", Endpoint(Address("http", "b", 80)), healthy=True))
    assert registry.get_sample_value("appliance_backend_up", {"backend": "b"}) == 1
    metrics.backend_seen(BackendStatus("b", "tgi", Endpoint(Address("http", "b", 80)), healthy=False))
    assert registry.get_sample_value("appliance_backend_up", {"backend": "b"}) == 0
    assert registry.get_sample_value("appliance_backend_probe_failures_total", {"backend": "b"}) == 1
    metrics.row_dropped("b")
    assert registry.get_sample_value("appliance_backend_probe_failures_total", {"backend": "b"}) is None


def test_what_clients_and_backends_make_up_does_not_grow_the_series(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    def series() -> int:
        return sum(not line.startswith(b"#") for line in generate_latest(registry).splitlines())

    for status in range(-1, 700):
        metrics.http_request("/v1/models", f"BREW{status}", status)
        metrics.exchange_ended(replace(RECORD, status=status), counted=False)
        metrics.bad_request(f"code{status}")
        metrics.connection_refused(f"reason{status}")
    before = series()
    for number in range(1_000):
        metrics.http_request("/v1/models", f"BREW{number}", 600 + number)
        metrics.exchange_ended(replace(RECORD, status=10_000 + number), counted=False)
        metrics.bad_request(f"more{number}")
        metrics.connection_refused(f"more{number}")
    assert series() == before
    labels = {"route": "/v1/models", "method": "OTHER", "code": "other"}
    assert registry.get_sample_value("appliance_http_requests_total", labels) == 1_000 + 701 - 500


def test_what_the_door_sees_is_counted(metrics: Metrics, registry: CollectorRegistry) -> None:
    value = registry.get_sample_value
    assert value("appliance_log_lines_dropped_total") is not None  # of every sink of the process, other tests' too
    for name in ("client_stalls_total", "connection_errors_total", "client_connections"):
        assert value(f"appliance_{name}") == 0
    metrics.connection_refused("handshake")
    metrics.bad_request("malformed_request")
    metrics.client_stalled()
    metrics.connection_error()
    metrics.watch_connections(lambda: 7)
    assert value("appliance_connections_refused_total", {"reason": "handshake"}) == 1
    assert value("appliance_bad_requests_total", {"code": "malformed_request"}) == 1
    assert value("appliance_client_stalls_total") == 1
    assert value("appliance_connection_errors_total") == 1
    assert value("appliance_client_connections") == 7


def test_log_lines_that_were_lost_are_counted(metrics: Metrics, registry: CollectorRegistry) -> None:
    stream = io.StringIO()
    sink = configure("json", stream)
    stream.close()
    logging.getLogger("appliance.test").info("lost")
    assert registry.get_sample_value("appliance_log_lines_dropped_total") == 1
    logging.getLogger().removeHandler(sink)


@pytest.mark.parametrize("accept", [None, "", "*/*", "text/plain;version=0.0.4", "application/json"])
async def test_the_text_format_is_for_everyone(metrics: Metrics, accept: str | None) -> None:
    body, content_type = await metrics.render(accept)
    assert content_type.startswith("text/plain; version=")
    assert "process_cpu_seconds" in {family.name for family in parse_text(body.decode())}


async def test_openmetrics_is_for_those_who_ask(metrics: Metrics) -> None:
    metrics.exchange_ended(RECORD, counted=False)
    asked = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    body, content_type = await metrics.render(asked)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")
    assert "appliance_requests" in {family.name for family in parse_openmetrics(body.decode())}  # type: ignore[no-untyped-call]


async def test_the_last_load_of_the_configuration_is_told(metrics: Metrics, registry: CollectorRegistry) -> None:
    def value() -> float | None:
        return registry.get_sample_value("appliance_config_last_load_ok")

    assert value() == 1
    metrics.config_loaded(ok=False, at=5.0)
    assert value() == 0
    metrics.config_loaded(ok=True, at=6.0, digest="abc")
    assert value() == 1
    assert registry.get_sample_value("appliance_config_info", {"digest": "abc"}) == 1
    metrics.config_loaded(ok=True, at=6.0, digest="def")
    assert registry.get_sample_value("appliance_config_info", {"digest": "abc"}) is None
    assert registry.get_sample_value("appliance_config_loaded_timestamp_seconds") == 6.0


async def test_the_next_page_tells_how_large_the_last_one_was(metrics: Metrics) -> None:
    await metrics.render(None)
    body, _ = await metrics.render(None)
    (line,) = [line for line in body.decode().splitlines() if line.startswith("appliance_metrics_series ")]
    assert float(line.split()[1]) > 10


@pytest.mark.parametrize("accept", [None, "application/openmetrics-text"])
async def test_every_family_is_on_the_page_from_the_start(metrics: Metrics, accept: str | None) -> None:
    body, _ = await metrics.render(accept)
    kinds = {line.split()[2]: line.split()[3] for line in body.decode().splitlines() if line.startswith("# TYPE ")}
    for family in metrics.families:
        (metric,) = family.describe()
        suffix = "_total" if metric.type == "counter" and accept is None else ""
        assert kinds[metric.name + suffix] == metric.type
