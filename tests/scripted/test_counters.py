from typing import Any, Literal

from prometheus_client.parser import text_string_to_metric_families

from appliance.domain.status import Measure
from appliance.scripted.counters import exposition
from appliance.supervisor.readings import reading_of


def read(page: bytes) -> dict[str, float]:
    return {
        sample.name + sample.labels.get("finished_reason", ""): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_each_engines_names_carry_the_numbers() -> None:
    numbers: dict[str, Any] = {"running": 2, "waiting": 1, "prompt": 30, "generated": 40}
    vllm = read(exposition("vllm", "m", **numbers, ended=(5, 3), put_back=0))
    assert {name.removeprefix("vllm:"): value for name, value in vllm.items()} == {
        "num_requests_running": 2,
        "num_requests_waiting": 1,
        "kv_cache_usage_perc": 0.02,
        "prefix_cache_queries_total": 30,
        "prefix_cache_hits_total": 0,
        "num_preemptions_total": 0,
        "prompt_tokens_total": 30,
        "generation_tokens_total": 40,
        "request_success_totalstop": 5,
        "request_success_totalabort": 3,
    }
    llama = read(exposition("llama.cpp", "m", **numbers))
    assert llama["llamacpp:tokens_predicted_total"] == 40
    assert llama["llamacpp:requests_processing"] == 2


def test_a_cache_that_puts_requests_back_is_full() -> None:
    seen = read(exposition("vllm", "m", running=1, waiting=0, prompt=1, generated=1, put_back=4))
    assert (seen["vllm:num_preemptions_total"], seen["vllm:kv_cache_usage_perc"]) == (4, 1.0)


def test_both_are_understood_by_those_who_watch_engines() -> None:
    numbers: dict[str, Any] = {"running": 2, "waiting": 1, "prompt": 30, "generated": 40}
    styles: tuple[Literal["vllm", "llama.cpp"], ...] = ("vllm", "llama.cpp")
    for style in styles:
        seen = reading_of(exposition(style, "m", **numbers))
        assert (seen[Measure.RUNNING], seen[Measure.WAITING], seen[Measure.GENERATED]) == (2, 1, 40)
