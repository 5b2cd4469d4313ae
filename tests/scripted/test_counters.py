from prometheus_client.parser import text_string_to_metric_families

from appliance.scripted.counters import exposition


def read(page: bytes) -> dict[str, float]:
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_each_engines_names_carry_the_numbers() -> None:
    numbers = {"running": 2, "waiting": 1, "prompt": 30, "generated": 40}
    assert read(exposition("vllm", "m", **numbers)) == {
        "vllm:num_requests_running": 2,
        "vllm:num_requests_waiting": 1,
        "vllm:prompt_tokens_total": 30,
        "vllm:generation_tokens_total": 40,
    }
    llama = read(exposition("llama.cpp", "m", **numbers))
    assert llama["llamacpp:tokens_predicted_total"] == 40
    assert llama["llamacpp:requests_processing"] == 2
