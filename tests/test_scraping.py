"""What is asked at each scrape, of a running product and of exchanges that are held where they are."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from appliance.observe.metrics import Metrics
from appliance.scraping import Told
from tests.fakes.product import Product, product, runtime

PUBLIC = '[[models]]\nname = "public"\nkind = "chat"\ntargets = ["m"]\n'


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with product(tmp_path_factory.mktemp("box"), runtime("m", "--tokens", "5") + PUBLIC) as running:
        running.ready("public")
        body = {"model": "public", "messages": [{"role": "user", "content": "hi"}]}
        for _ in range(3):
            assert running.post("/v1/chat/completions", body).status_code == 200
        yield running


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        'appliance_model_target_info{model="public",target="m",upstream="m"} 1.0',
        'appliance_model_ready{model="public"} 1.0',
        'appliance_requests_by_phase{model="public",phase="streaming"} 0.0',
        'appliance_upstream_connections{state="leased",upstream="m"} 0.0',
        'appliance_upstream_connections_taken_total{how="opened",upstream="m"} 1.0',
        'appliance_upstream_connections_taken_total{how="reused",upstream="m"} 2.0',
        'appliance_recording_up{file="usage"} 1.0',
        'appliance_recording_up{file="events"} 1.0',
    ],
)
def test_a_running_product_tells_what_others_know(box: Product, line: str) -> None:
    box.until(lambda: line in box.metrics().splitlines(), 20)


@pytest.mark.slow
def test_which_configuration_is_in_effect_and_since_when_a_replica_runs(box: Product) -> None:
    page = box.metrics()
    assert page.count("\nappliance_config_info{digest=") == 1
    assert 'appliance_replica_start_time_seconds{replica="m",runtime="m"} ' in page


def test_exchanges_are_counted_by_what_they_wait_for_and_unknown_models_are_not() -> None:
    metrics = Metrics()
    metrics.exchange_started("idle")
    held = [("m", "streaming"), ("m", "streaming"), ("m", "queued"), ("_unknown", "request")]
    under_way = {str(n): SimpleNamespace(model=model, phase=phase) for n, (model, phase) in enumerate(held)}
    nobody = cast("Any", SimpleNamespace())
    told = Told(nobody, nobody, nobody, nobody, nobody, nobody, nobody, cast("Any", under_way))
    found = told._phases(metrics.exchanges.models)()
    assert {key: number for key, number in found.items() if number} == {("m", "streaming"): 2, ("m", "queued"): 1}
    assert found["idle", "streaming"] == 0
    assert {model for model, _ in found} == {"idle", "m"}
