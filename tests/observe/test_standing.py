import time

import pytest
from prometheus_client import CollectorRegistry

from appliance.observe.maker import Maker
from appliance.observe.standing import Standing


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def standing(registry: CollectorRegistry) -> Standing:
    return Standing(Maker(registry))


def shown(registry: CollectorRegistry) -> dict[str, float]:
    return {
        ":".join([sample.name.removeprefix("appliance_"), *sample.labels.values()]): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def test_without_anybody_who_knows_there_are_no_series_with_labels(
    registry: CollectorRegistry, standing: Standing
) -> None:
    del standing
    seen = {name for name in shown(registry) if not name.startswith("metrics_series_left_out:")}
    assert seen == {"ready", "tasks", "threads", "metrics_series", "metrics_render_seconds"}


def test_it_is_ready_while_every_model_is(registry: CollectorRegistry, standing: Standing) -> None:
    standing.watch_models(lambda: {"a": True, "b": False})
    seen = shown(registry)
    assert (seen["model_ready:a"], seen["model_ready:b"], seen["ready"]) == (1, 0, 0)
    standing.watch_models(lambda: {"a": True})
    seen = shown(registry)
    assert (seen["ready"], "model_ready:b" in seen) == (1, False)


def test_certificates_and_quotas(registry: CollectorRegistry, standing: Standing) -> None:
    standing.watch_certificates(lambda: {"/etc/a.pem": 2e9})
    standing.watch_quotas(lambda: {("key", "ann", "day"): 0.5, ("model", "m", "month"): 0.25})
    seen = shown(registry)
    assert seen["tls_certificate_expiry_timestamp_seconds:/etc/a.pem"] == 2e9
    assert seen["key_quota_used_ratio:ann:day"] == 0.5
    assert seen["model_quota_used_ratio:m:month"] == 0.25


async def test_the_page_tells_of_itself(registry: CollectorRegistry, standing: Standing) -> None:
    standing.rendered(time.monotonic() - 0.5, 77)
    seen = shown(registry)
    assert seen["metrics_series"] == 77
    assert seen["metrics_render_seconds"] >= 0.5
    assert seen["tasks"] >= 1


def test_connections_to_model_servers_are_told_by_name(registry: CollectorRegistry, standing: Standing) -> None:
    standing.watch_connections(lambda: {("qwen", "idle"): 2.0}, lambda: {("qwen", "reused"): 7.0})
    seen = shown(registry)
    assert seen["upstream_connections:qwen:idle"] == 2
    assert seen["upstream_connections_taken_total:qwen:reused"] == 7


def test_what_models_stand_for_and_what_their_requests_wait_for(
    registry: CollectorRegistry, standing: Standing
) -> None:
    standing.watch_targets(lambda: {("public", "gpu2/x", "gpu2"): 1.0})
    standing.watch_phases(lambda: {("public", "streaming"): 3.0})
    seen = shown(registry)
    assert seen["model_target_info:public:gpu2/x:gpu2"] == 1
    assert seen["requests_by_phase:public:streaming"] == 3
    assert seen["threads"] >= 1


def test_series_without_room_are_counted(registry: CollectorRegistry, standing: Standing) -> None:
    standing.watch_models(lambda: {f"m{number}": True for number in range(503)})
    seen = shown(registry)
    assert seen["metrics_series_left_out:appliance_model_ready"] == 3
    assert seen["metrics_series_left_out:appliance_key_quota_used_ratio"] == 0
    assert sum(name.startswith("model_ready:") for name in seen) == 500
