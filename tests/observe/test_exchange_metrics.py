import msgspec
from prometheus_client import CollectorRegistry

from appliance.domain.calls import Usage
from appliance.observe.exchange_metrics import ExchangeMetrics
from appliance.observe.log import ExchangeRecord
from appliance.observe.maker import Maker
from tests.fakes.records import RECORD


def told(*records: ExchangeRecord) -> CollectorRegistry:
    make = Maker(CollectorRegistry())
    own = ExchangeMetrics(make)
    for record in records:
        own.ended(record, counted=False)
    return make.registry


def changed(**fields: object) -> ExchangeRecord:
    return msgspec.structs.replace(RECORD, **fields)


def test_a_stream_is_told_by_its_first_token_the_pace_of_the_others_and_its_stages() -> None:
    registry = told(changed(ttft_s=0.5, duration_s=2.5, queued_s=0.2, usage=Usage(9, 5)))
    labels = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "vllm", "gen_ai_request_model": "m"}
    assert registry.get_sample_value("gen_ai_server_time_per_output_token_seconds_sum", labels) == 0.5
    assert registry.get_sample_value("gen_ai_server_time_to_first_token_seconds_sum", labels) == 0.5
    stages = {
        stage: registry.get_sample_value("appliance_stage_seconds_total", {"model": "m", "stage": stage})
        for stage in ("queue", "first_token", "streaming")
    }
    assert stages == {"queue": 0.2, "first_token": 0.3, "streaming": 2.0}


def test_one_token_has_no_pace_and_what_is_no_stream_has_no_stages() -> None:
    registry = told(changed(ttft_s=0.5, usage=Usage(9, 1)), changed(ttft_s=None))
    assert registry.get_sample_value("gen_ai_server_time_per_output_token_seconds_count") is None
    assert registry.get_sample_value("appliance_stage_seconds_total", {"model": "m", "stage": "queue"}) == 0


def test_tokens_are_told_by_type_and_size_and_guesses_apart() -> None:
    registry = told(changed(usage=Usage(100, 7, 40)), changed(usage=Usage(50, 3, estimated=True)))
    labels = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "vllm", "gen_ai_request_model": "m"}
    value = registry.get_sample_value
    assert value("gen_ai_client_token_usage_sum", labels | {"gen_ai_token_type": "input"}) == 100
    assert value("gen_ai_client_token_usage_count", labels | {"gen_ai_token_type": "output"}) == 1
    assert value("appliance_tokens_total", {"model": "m", "type": "cached"}) == 40
    assert value("appliance_tokens_estimated_total", {"model": "m", "type": "input"}) == 50


def test_keys_are_counted_each_and_beyond_two_hundred_together() -> None:
    registry = told(
        *(changed(key=f"k{number}", usage=Usage(1, 2)) for number in range(210)),
        changed(key="k3", outcome="error", error_code="queue_full", usage=Usage()),
        changed(key="k209", usage=Usage(1, 2)),
    )
    value = registry.get_sample_value
    assert value("appliance_key_requests_total", {"key": "k3", "outcome": "ok"}) == 1
    assert value("appliance_key_requests_total", {"key": "k3", "outcome": "failed"}) == 1
    assert value("appliance_key_tokens_total", {"key": "_other", "type": "output"}) == 22
    assert value("appliance_key_requests_total", {"key": "k209", "outcome": "ok"}) is None


def test_whoever_has_no_key_is_not_counted_as_one() -> None:
    assert told(changed(key="")).get_sample_value("appliance_key_requests_total", {"key": "", "outcome": "ok"}) is None
