import msgspec
import pytest
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
    spent = {"upload_s": 0.125, "queued_s": 0.0625, "waited_s": 0.125, "overhead_s": 0.0625}
    registry = told(changed(ttft_s=0.5, duration_s=2.5, usage=Usage(9, 5), **spent))
    labels = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "vllm", "gen_ai_request_model": "m"}
    assert registry.get_sample_value("gen_ai_server_time_per_output_token_seconds_sum", labels) == 0.5
    assert registry.get_sample_value("gen_ai_server_time_to_first_token_seconds_sum", labels) == 0.5
    stages = {
        stage: registry.get_sample_value("appliance_stage_seconds_total", {"model": "m", "stage": stage})
        for stage in ("upload", "queue", "loading", "overhead", "first_token", "streaming")
    }
    assert stages == {
        "upload": 0.125, "queue": 0.0625, "loading": 0.125, "overhead": 0.0625, "first_token": 0.125, "streaming": 2.0,
    }  # fmt: skip
    assert sum(filter(None, stages.values())) == 2.5, "nothing of its time is without a stage"


def test_a_stream_is_told_by_its_longest_pause_and_its_stalls() -> None:
    registry = told(changed(ttft_s=0.5, gap_s=3.0, stalls=2), changed(ttft_s=0.5, gap_s=0.02), changed(ttft_s=0.5))
    value = registry.get_sample_value
    assert value("appliance_stream_stalls_total", {"model": "m"}) == 2
    assert value("appliance_stream_longest_gap_seconds_count", {"model": "m"}) == 2, "one read has no pause"
    assert value("appliance_stream_longest_gap_seconds_bucket", {"model": "m", "le": "0.025"}) == 1


def test_what_we_added_ourselves_is_told_of_every_exchange_that_reached_an_engine() -> None:
    registry = told(changed(overhead_s=0.0002), changed(overhead_s=0.3), changed(overhead_s=None))
    value = registry.get_sample_value
    assert value("appliance_overhead_seconds_count") == 2
    assert value("appliance_overhead_seconds_bucket", {"le": "0.00025"}) == 1


@pytest.mark.parametrize(
    ("told_by", "reason"),
    [
        ({"finish": "stop"}, "stop"),
        ({"finish": "end_turn"}, "stop"),
        ({"finish": "max_tokens"}, "length"),
        ({"finish": "function_call"}, "tool_calls"),
        ({"finish": "refusal"}, "content_filter"),
        ({"finish": "an engine's own word"}, "other"),
        ({"finish": "stop", "outcome": "client_gone"}, "stop"),
        ({"ttft_s": 0.1, "outcome": "client_gone", "status": 499}, "client_gone"),
        ({"ttft_s": 0.1, "outcome": "error", "error_code": "backend_died"}, "error"),
        ({"ttft_s": 0.1, "outcome": "ok"}, None),
        ({"outcome": "error", "error_code": "queue_full"}, None),
        ({"outcome": "client_gone", "status": 499}, None),
    ],
)
def test_an_answer_is_counted_by_why_it_ended_and_what_is_none_is_not(
    told_by: dict[str, object], reason: str | None
) -> None:
    registry = told(changed(**told_by))
    found = [
        sample.labels["reason"]
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "appliance_finish_reasons_total"
    ]
    assert found == ([reason] if reason else [])


def test_engines_words_do_not_grow_the_series() -> None:
    registry = told(*(changed(finish=f"word{number}") for number in range(1000)))
    assert registry.get_sample_value("appliance_finish_reasons_total", {"model": "m", "reason": "other"}) == 1000


def test_an_exchange_of_each_bucket_can_be_found_in_the_log_by_its_id() -> None:
    registry = told(
        changed(request_id="quick", duration_s=0.015, ttft_s=0.003),
        changed(request_id="x" * 119, duration_s=5.0),
        changed(request_id="older", duration_s=100.0),
        changed(request_id="slow", duration_s=110.0),
    )
    found = {
        (sample.name.removesuffix("_bucket"), sample.exemplar.labels["request_id"], sample.exemplar.value)
        for family in registry.collect()
        for sample in family.samples
        if sample.exemplar is not None
    }
    assert found == {
        ("gen_ai_server_request_duration_seconds", "quick", 0.015),
        ("gen_ai_server_request_duration_seconds", "slow", 110.0),
        ("gen_ai_server_time_to_first_token_seconds", "quick", 0.003),
    }, "an id that is too long for an exemplar has none"


@pytest.mark.parametrize(
    ("request_id", "labels"),
    [
        ("r1", {"trace_id": "a" * 32, "request_id": "r1"}),
        ("x" * 78, {"trace_id": "a" * 32, "request_id": "x" * 78}),
        ("x" * 79, {"trace_id": "a" * 32}),
    ],
)
def test_an_exemplar_names_the_trace_and_what_else_fits(request_id: str, labels: dict[str, str]) -> None:
    registry = told(changed(request_id=request_id, trace_id="a" * 32, duration_s=0.5))
    (found,) = [sample.exemplar.labels for family in registry.collect() for sample in family.samples if sample.exemplar]
    assert found == labels
    assert sum(map(len, [*found, *found.values()])) <= 128


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
