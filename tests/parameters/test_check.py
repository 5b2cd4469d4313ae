import json
from typing import Any

import pytest

from appliance.config.schema import Key, KeyParameters, Parameters
from appliance.config.units import Size
from appliance.errors import GatewayError
from appliance.parameters.check import ParameterRules

HASH = "sha256:" + "0" * 64
DEEP: Any = {}
for _ in range(60):
    DEEP = {"properties": DEEP}


def blocked(field: str, value: Any, *engines: str, key: str = "a", rules: ParameterRules | None = None) -> str | None:
    """The field that was refused; None when it passed."""
    watched, judge = {field: json.dumps(value).encode()}, rules or ParameterRules()
    try:
        judge.check(watched, key, engines or ("vllm", "llama.cpp"))
    except GatewayError as caught:
        error = caught
    else:
        return None
    assert (error.code, error.row.status) == ("parameter_blocked", 422)
    assert error.message.startswith(f"{error.param!r} ")
    return error.param


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("n", 8, 9),
        ("n", 1, -1),
        ("best_of", 2, 100),
        ("logprobs", True, 21),
        ("top_logprobs", 20, 21),
        ("top_logprobs", 0, -1),
        ("n_probs", 5, 100_000),
        ("stop", ["x"] * 16, ["x"] * 17),
        ("stop", "one", ["x"] * 1000),
        ("stop_sequences", ["x"], ["x"] * 17),
        ("tools", [{}] * 128, [{}] * 129),
        ("tools", [{"function": {"parameters": {}}}], [DEEP]),
        ("response_format", {"type": "json_object"}, DEEP),
        ("response_format", {"type": "json_schema"}, {"enum": "x" * 300_000}),
        ("output_config", {"schema": {}}, {"schema": DEEP}),
        ("logit_bias", {"1": 5}, {str(number): 1 for number in range(100_000)}),
        ("chat_template_kwargs", {"enable_thinking": False}, DEEP),
        ("messages[0].content[1].image_url", "data:image/png;base64,AAAA", "http://10.0.0.1/"),
        ("messages[0].content[1].image_url", None, "file:///etc/passwd"),
    ],
)
def test_what_is_bounded_passes_within_the_bounds(field: str, good: Any, bad: Any) -> None:
    if "image_url" not in field:
        assert blocked(field, good) is None
    assert blocked(field, bad) == field


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("grammar", "root ::= root", "grammar"),
        ("id_slot", 0, "id_slot"),
        ("slot_id", 0, "slot_id"),
        ("n_discard", 1, "n_discard"),
        ("chat_template", "{% for %}", "chat_template"),
        ("chat_template_kwargs", {"chat_template": "x"}, "chat_template_kwargs.chat_template"),
        ("structured_outputs", {"regex": "(a+)+"}, "structured_outputs.regex"),
        ("prompt_embeds", "AAAA", "prompt_embeds"),
        ("priority", -10, "priority"),
        ("messages[0].content[0].image_embeds", True, "messages[0].content[0].image_embeds"),
        ("input[0].content[0].file_url", "https://x", "input[0].content[0].file_url"),
    ],
)
def test_what_is_refused_and_how_it_is_called(field: str, value: Any, param: str) -> None:
    assert blocked(field, value) == param
    assert blocked(field, None) is None  # null is as good as absent


def test_what_an_engine_does_not_know_passes() -> None:
    assert blocked("grammar", "x", "vllm") is None
    assert blocked("grammar", "x", "vllm", "llama.cpp") == "grammar"
    assert blocked("grammar", "x", "openai") == "grammar"  # whatever stands behind it
    assert blocked("prompt_embeds", "x", "llama.cpp") is None
    assert blocked("prompt_embeds", "x", "command") == "prompt_embeds"


def test_a_key_may_be_allowed_more_and_less() -> None:
    keys = [
        Key(
            name="big",
            hash=HASH,
            parameters=KeyParameters(
                most_choices=64, allow=("id_slot", "structured_outputs.regex"), remote_media=True, schema_size=Size(10)
            ),
        ),
        Key(name="plain", hash=HASH),
    ]
    rules = ParameterRules(Parameters(most_choices=2, allow=("grammar",)), keys)
    assert blocked("n", 3, key="plain", rules=rules) == "n"
    assert blocked("n", 64, key="big", rules=rules) is None
    assert blocked("id_slot", 1, key="plain", rules=rules) == "id_slot"
    assert blocked("id_slot", 1, key="big", rules=rules) is None
    assert blocked("grammar", "x", key="big", rules=rules) is None
    assert blocked("structured_outputs", {"a": 1}, key="big", rules=rules) is None
    assert blocked("structured_outputs", {"regex": "x"}, key="big", rules=rules) == "structured_outputs"  # too large
    assert blocked("messages[0].content[0].image_url", "https://x", key="big", rules=rules) is None
    assert blocked("messages[0].content[0].image_url", "file:///x", key="big", rules=rules) is not None
    assert blocked("messages[0].content[0].image_url", "https://x", key="plain", rules=rules) is not None


def test_a_message_says_what_to_do_and_never_repeats_the_value() -> None:
    with pytest.raises(GatewayError) as caught:
        ParameterRules().check({"messages[0].content[0].image_url": b'"http://secret.internal/x"'}, "a", ["vllm"])
    assert "secret" not in caught.value.message
    assert "data: URL" in caught.value.message
    assert "remote_media" in caught.value.message
