"""What a running product tells Prometheus: engines, certificates, readiness, and single exchanges by their id."""

import os
import signal
from collections.abc import Iterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse

from tests.fakes.product import KEY, Product, product, runtime

pytestmark = pytest.mark.timeout(120)
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    tables = runtime("m", "--style", "vllm", "--waiting", "2", "--preempts")
    server = 'probe_interval = "200ms"\n'
    with product(tmp_path_factory.mktemp("metrics"), tables, server, internal=True) as running:
        running.ready("m")
        yield running


def page(box: Product) -> str:
    with box.client() as client:
        reply = client.get(f"{box.url}/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert reply.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    return reply.text


def told(box: Product, name: str) -> dict[tuple[str, ...], float]:
    """The samples of a name, by the values of their labels in the order of the labels' names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in parse(page(box))  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.name == name
    }


def test_an_engines_own_numbers_have_the_replicas_name(box: Product) -> None:
    assert box.post("/v1/chat/completions", CHAT).status_code == 200
    who = ("m", "m")
    box.until(lambda: told(box, "appliance_engine_finished_total").get(("stop", *who), 0) >= 1, 20)
    assert told(box, "appliance_engine_up") == {who: 1}
    assert told(box, "appliance_engine_requests_waiting") == {who: 2}
    assert told(box, "appliance_engine_kv_cache_usage_ratio") == {who: 1}
    assert told(box, "appliance_engine_preemptions_total")[who] >= 1
    assert told(box, "appliance_engine_generation_tokens_total")[who] > 1
    assert told(box, "appliance_engine_spec_draft_tokens_total") == {}, "what is not told is not there"


def test_an_exchange_can_be_found_by_its_id(box: Product) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"x-api-key": KEY, "x-request-id": "find-me", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    with box.client() as client:
        assert client.post(f"{box.url}/v1/chat/completions", json=CHAT, headers=headers).status_code == 200
    box.until(lambda: f'# {{request_id="find-me",trace_id="{trace}"}}' in page(box), 10)
    box.until(lambda: '"request_id":"find-me"' in box.log.read_text(), 10)
    assert f'"trace_id":"{trace}"' in box.log.read_text()
    assert told(box, "appliance_finish_reasons_total")["m", "stop"] >= 1
    assert told(box, "appliance_overhead_seconds_count")[()] >= 1


def test_readiness_certificates_and_the_configuration(box: Product) -> None:
    assert told(box, "appliance_ready") == {(): 1}
    assert told(box, "appliance_model_ready") == {("m",): 1}
    ((_, end),) = told(box, "appliance_tls_certificate_expiry_timestamp_seconds").items()
    assert end > told(box, "appliance_config_loaded_timestamp_seconds")[()]
    assert told(box, "appliance_config_last_load_ok") == {(): 1}


def test_an_engine_that_has_ended_tells_nothing_and_the_next_one_begins_anew(box: Product) -> None:
    who, crash = ("m", "m"), ("crash", "m", "m")
    assert box.post("/v1/chat/completions", CHAT).status_code == 200
    box.until(lambda: told(box, "appliance_engine_generation_tokens_total").get(who, 0) > 0, 20)
    crashes, starts = (
        told(box, "appliance_replica_restarts_total")[crash],
        told(box, "appliance_replica_starts_total")[who],
    )
    for pid in box.engines():
        os.kill(pid, signal.SIGKILL)
    box.until(lambda: told(box, "appliance_replica_restarts_total")[crash] == crashes + 1, 20)
    box.ready("m")
    box.until(lambda: told(box, "appliance_engine_generation_tokens_total").get(who) == 0, 20)
    assert told(box, "appliance_replica_starts_total")[who] == starts + 1
    assert told(box, "appliance_replica_load_seconds_count")["cold", "m"] == starts + 1
