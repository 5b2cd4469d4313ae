"""Guardrails through the official SDKs, under both prefixes and through both doors: the rows of the API's description."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.fakes.product import KEY, Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
LEAK = "Write to bob.smith@example.com or call +49 30 1234567."
SAFE = "Write to [EMAIL] or call [PHONE]."
GUARDRAILS = """
[[guardrails]]
name = "pii-checker"
kind = "pii"

[[guardrails]]
name = "redacts"
kind = "pii"
action = "redact"
on = ["input", "output"]

[[guardrails]]
name = "flags"
kind = "keywords"
words = ["hello"]
action = "flag"

[[guardrails]]
name = "blocks-answers"
kind = "regex"
patterns = ["[a-z.]{3,20}@example[.]com"]
on = ["output"]

[[guardrails]]
name = "policy"
kind = "model"
model = "guard"
on = ["input", "output"]
window = 10
categories = { S1 = "weapons" }

[[guardrails]]
name = "broken"
kind = "model"
model = "talker"
timeout = "20s"
"""


def model(name: str, target: str, *guardrails: str) -> str:
    return (
        f'[[models]]\nname = "{name}"\nkind = "chat"\ntargets = ["{target}"]\nguardrails = {json.dumps(guardrails)}\n'
    )


@pytest.fixture(scope="module", params=["door", "quart"])
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """Once through the door, and once over HTTP/2, which is Quart; that one speaks TLS too."""
    tables = "\n".join(
        [
            runtime("talker", "--says", LEAK),
            runtime("quiet", "--says", "The bomb is a word."),
            runtime("guard", "--says", "safe", "--unsafe-about", "bomb"),
            GUARDRAILS,
            model("gpt-4", "talker", "pii-checker"),
            model("redacted", "talker", "redacts"),
            model("flagged", "quiet", "flags"),
            model("stopped", "talker", "blocks-answers"),
            model("judged", "quiet", "policy"),
            model("unjudged", "quiet", "broken"),
            model("guard", "guard"),
            model("talker", "talker"),
        ]
    )
    with product(tmp_path_factory.mktemp("box"), tables, http2=request.param == "quart") as running:
        running.ready("gpt-4", "judged", "guard")
        yield running


@pytest.fixture(params=["/v1", "/api/client/v1"])
def client(box: Product, request: pytest.FixtureRequest) -> Iterator[openai.OpenAI]:
    http = openai.DefaultHttpxClient(verify=box.verify, http2=box.http2)
    with openai.OpenAI(base_url=f"{box.url}{request.param}", api_key=KEY, max_retries=0, http_client=http) as sdk:
        yield sdk


@pytest.fixture(params=["", "/api/client"])
def claude(box: Product, request: pytest.FixtureRequest) -> Iterator[anthropic.Anthropic]:
    http = anthropic.DefaultHttpxClient(verify=box.verify, http2=box.http2)
    with anthropic.Anthropic(base_url=f"{box.url}{request.param}", api_key=KEY, max_retries=0, http_client=http) as sdk:
        yield sdk


def ask(client: openai.OpenAI, name: str, text: str, **more: Any) -> Any:
    return client.chat.completions.create(model=name, messages=[{"role": "user", "content": text}], **more)


def streamed(client: openai.OpenAI, name: str, text: str) -> str:
    return "".join(
        chunk.choices[0].delta.content or "" for chunk in ask(client, name, text, stream=True) if chunk.choices
    )


def until_error(client: openai.OpenAI, name: str, text: str) -> tuple[str, dict[str, Any]]:
    """What a stream says, and the error that ends it, which it must have: at once, or as an event."""
    heard: list[str] = []
    with pytest.raises(openai.APIError) as caught:
        heard.extend(chunk.choices[0].delta.content or "" for chunk in ask(client, name, text, stream=True))
    assert isinstance(caught.value.body, dict)
    return "".join(heard), caught.value.body


@pytest.mark.parametrize("stream", [False, True])
def test_guardrail_block(client: openai.OpenAI, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, "gpt-4", "My address is bob@example.com", stream=stream)
    assert caught.value.status_code == 400
    body = caught.value.response.json()
    assert body["error"].pop("code") == "guardrail_block"
    assert body["error"].pop("param") is None
    assert body["error"] == {
        "message": "Content blocked by guardrail",
        "type": "guardrail_block",
        "guardrail_key": "pii-checker",
        "action": "block",
        "findings": [{"category": "email", "message": "PII detected"}],
    }
    assert body["request_id"] == caught.value.response.headers["x-request-id"]


def test_guardrail_block_of_a_completion(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="gpt-4", prompt="4111 1111 1111 1111")
    assert caught.value.response.json()["error"]["findings"] == [{"category": "card", "message": "PII detected"}]


def test_guardrail_block_in_the_shape_of_messages(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        claude.messages.create(
            model="gpt-4", max_tokens=9, system="I am bob@example.com", messages=[{"role": "user", "content": "hi"}]
        )
    body = caught.value.response.json()
    assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
    assert (body["error"]["guardrail_key"], body["error"]["action"]) == ("pii-checker", "block")
    assert body["error"]["findings"] == [{"category": "email", "message": "PII detected"}]


def test_what_is_clean_passes(client: openai.OpenAI) -> None:
    assert ask(client, "gpt-4", "What is the capital of France?").choices[0].message.content == LEAK


def test_an_answer_is_redacted_whole_and_in_a_stream(client: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    assert ask(client, "redacted", "hi").choices[0].message.content == SAFE
    assert streamed(client, "redacted", "hi") == SAFE
    text = client.completions.create(model="redacted", prompt="hi", stream=True)
    assert "".join(chunk.choices[0].text for chunk in text if chunk.choices) == SAFE
    asked: dict[str, Any] = {"model": "redacted", "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]}
    assert claude.messages.create(**asked).content[0].text == SAFE
    with claude.messages.stream(**asked) as stream:
        assert stream.get_final_text() == SAFE


def test_a_request_is_redacted_before_the_model_sees_it(client: openai.OpenAI) -> None:
    answer = client.chat.completions.with_raw_response.create(
        model="redacted", messages=[{"role": "user", "content": "I am bob@example.com"}]
    )
    assert answer.headers["x-guardrail-redacted"] == "redacts"
    usage = answer.parse().usage
    assert usage is not None
    assert usage.prompt_tokens == len(["I", "am", "[EMAIL]"])


def test_a_flag_is_a_header(client: openai.OpenAI) -> None:
    answer = client.chat.completions.with_raw_response.create(
        model="flagged", messages=[{"role": "user", "content": "Hello, bob@example.com"}]
    )
    assert answer.headers["x-guardrail-flagged"] == "flags"


def test_an_answer_is_blocked_whole_and_where_a_stream_has_begun(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as whole:
        ask(client, "stopped", "hi")
    assert whole.value.response.json()["error"]["guardrail_key"] == "blocks-answers"
    heard, error = until_error(client, "stopped", "hi")
    assert (error["guardrail_key"], error["type"]) == ("blocks-answers", "guardrail_block")
    assert "Write to ".startswith(heard)


def test_an_answer_is_blocked_in_a_stream_of_messages(claude: anthropic.Anthropic) -> None:
    asked: dict[str, Any] = {"model": "stopped", "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]}
    with pytest.raises(anthropic.APIStatusError) as caught, claude.messages.stream(**asked) as stream:
        stream.until_done()
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["guardrail_key"] == "blocks-answers"


def test_a_guard_model_of_the_same_box_judges_both_sides(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, "judged", "how to build a bomb")
    error = caught.value.response.json()["error"]
    assert (error["guardrail_key"], error["findings"][0]["category"]) == ("policy", "weapons")
    with pytest.raises(openai.BadRequestError):
        ask(client, "judged", "hi")  # the answer has the word
    heard, error = until_error(client, "judged", "hi")
    assert error["guardrail_key"] == "policy"
    assert "bomb" not in heard


def test_a_guard_model_that_says_nothing_useful_lets_nothing_pass(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client, "unjudged", "hi")
    assert (caught.value.status_code, caught.value.code) == (503, "guardrail_unavailable")
    assert caught.value.response.headers["retry-after"]


def test_what_was_found_is_counted_and_never_shown(box: Product, client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        ask(client, "gpt-4", "My address is canary.7f3a@example.com")
    streamed(client, "redacted", "I am canary.7f3a@example.com")
    metrics = box.metrics()
    assert 'appliance_guardrail_evaluations_total{action="block",guardrail="pii-checker",on="input"}' in metrics
    assert 'appliance_guardrail_findings_total{category="email",guardrail="redacts",on="output"}' in metrics
    assert 'appliance_guardrail_seconds_count{check="policy"' in metrics or 'check="text"' in metrics
    log = box.written()
    assert '"guardrails":"redacts:email:redact' in log
    assert "canary.7f3a" not in log + metrics


def test_guardrails_change_with_a_reload(box: Product, client: openai.OpenAI) -> None:
    before = box.config.read_text()
    assert streamed(client, "talker", "hi") == LEAK
    try:
        box.config.write_text(before.replace('name = "redacts"\n', 'name = "redacts"\nmodels = ["talk*"]\n'))
        box.process.send_signal(1)
        box.until(lambda: streamed(client, "talker", "hi") == SAFE, 30)
    finally:
        box.config.write_text(before)
        box.process.send_signal(1)
        box.until(lambda: streamed(client, "talker", "hi") == LEAK, 30)
