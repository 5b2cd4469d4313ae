"""Every line about BYOK in the user's documents, asked with the official SDKs through both doors and both prefixes.

"Chat and messages support BYOK with openai, anthropic, or gemini. Embeddings support BYOK with openai or gemini."
"""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.fakes.cloud import Cloud, cloud
from tests.fakes.product import KEY, Product, product

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
CANARY = "sk-byok-canary-93ab51"
PROVIDERS = ["openai", "anthropic", "gemini"]
HELLO: Any = [{"role": "user", "content": "Hello!"}]
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with cloud(tmp_path_factory.mktemp("cloud")) as running:
        yield running


@pytest.fixture(scope="module", params=["door", "quart"])
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, clouds: Cloud) -> Iterator[Product]:
    """Once through the door, and once over HTTP/2, which is Quart."""
    tables = "\n".join(f'[[providers]]\nname = "{name}"\nurl = "{clouds.url}"\n' for name in PROVIDERS)
    with product(tmp_path_factory.mktemp("byok"), tables, http2=request.param == "quart") as running:
        yield running


@pytest.fixture(params=["/v1", "/api/client/v1"])
def prefix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def byok(provider: str, key: str | None = CANARY) -> dict[str, str]:
    return {"x-byok-provider": provider} | ({"x-byok-api-key": key} if key else {})


def chats(box: Product, prefix: str, provider: str) -> openai.OpenAI:
    http = openai.DefaultHttpxClient(verify=box.verify, http2=box.http2)
    return openai.OpenAI(
        base_url=box.url + prefix, api_key=KEY, max_retries=0, http_client=http, default_headers=byok(provider)
    )


def talks(box: Product, prefix: str, provider: str) -> anthropic.Anthropic:
    http = anthropic.DefaultHttpxClient(verify=box.verify, http2=box.http2)
    return anthropic.Anthropic(
        base_url=box.url + prefix.removesuffix("/v1"),
        api_key=KEY,
        max_retries=0,
        http_client=http,
        default_headers=byok(provider),
    )


def key_went_there_and_ours_did_not(clouds: Cloud) -> None:
    headers = clouds.last()["headers"]
    assert CANARY in (headers.get("authorization") or headers.get("x-api-key"))
    assert KEY not in json.dumps(clouds.last())
    assert not any(name.startswith("x-byok") for name in headers)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_chat_supports_byok(box: Product, prefix: str, clouds: Cloud, provider: str) -> None:
    with chats(box, prefix, provider) as sdk:
        answer = sdk.chat.completions.create(model="any-model", messages=HELLO)
    assert answer.choices[0].message.content == "Hello there, friend."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens in {11, 15}
    assert clouds.last()["body"]["model"] == "any-model"
    key_went_there_and_ours_did_not(clouds)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_chat_streams_with_byok(box: Product, prefix: str, clouds: Cloud, provider: str) -> None:
    with chats(box, prefix, provider) as sdk:
        chunks = list(sdk.chat.completions.create(model="any-model", messages=HELLO, stream=True))
        options: Any = {"include_usage": True}
        last = list(sdk.chat.completions.create(model="m", messages=HELLO, stream=True, stream_options=options))[-1]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello there, friend."
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    assert last.usage is not None
    assert last.usage.completion_tokens in {8, 15}
    key_went_there_and_ours_did_not(clouds)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_messages_support_byok(box: Product, prefix: str, clouds: Cloud, provider: str) -> None:
    with talks(box, prefix, provider) as sdk:
        answer = sdk.messages.create(model="any-model", max_tokens=512, messages=HELLO)
    assert answer.content[0].type == "text"
    assert answer.content[0].text == "Hello there, friend."
    assert (answer.stop_reason, answer.usage.input_tokens) in {("end_turn", 11), ("end_turn", 12)}
    sent = clouds.last()["body"]
    assert sent.get("max_tokens") == 512 or sent.get("max_completion_tokens") == 512
    key_went_there_and_ours_did_not(clouds)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_messages_stream_with_byok(box: Product, prefix: str, clouds: Cloud, provider: str) -> None:
    with (
        talks(box, prefix, provider) as sdk,
        sdk.messages.stream(model="any-model", max_tokens=512, messages=HELLO) as stream,
    ):
        assert "".join(stream.text_stream) == "Hello there, friend."
        assert stream.get_final_message().stop_reason == "end_turn"
    key_went_there_and_ours_did_not(clouds)


@pytest.mark.parametrize("provider", ["openai", "gemini"])
def test_embeddings_support_byok(box: Product, prefix: str, clouds: Cloud, provider: str) -> None:
    with chats(box, prefix, provider) as sdk:
        answer = sdk.embeddings.create(model="text-embedding-3-small", input=["First text"])
    assert answer.data[0].embedding == [0.5, -1.0]
    assert (answer.data[0].index, answer.model) == (0, "text-embedding-3-small")
    key_went_there_and_ours_did_not(clouds)


def test_the_key_is_in_no_log_of_either_door(box: Product, prefix: str, clouds: Cloud) -> None:
    with chats(box, prefix, "openai") as sdk, pytest.raises(openai.AuthenticationError) as caught:
        sdk.chat.completions.create(model="echo", messages=HELLO, extra_body={"request_id": "mine-1"})
    assert caught.value.response.headers["x-request-id"] == "mine-1"
    assert "request_id" not in clouds.last()["body"]
    for sink in (str(caught.value), box.log.read_text(), box.metrics()):
        assert CANARY not in sink


def test_one_try_of_an_sdk_is_one_request_to_the_provider(box: Product, prefix: str, clouds: Cloud) -> None:
    before = len(clouds.requests())
    with chats(box, prefix, "openai") as sdk, pytest.raises(openai.InternalServerError):
        sdk.chat.completions.create(model="error-503", messages=HELLO)
    assert len(clouds.requests()) == before + 1


def test_embeddings_do_not_support_byok_with_anthropic(box: Product, prefix: str, clouds: Cloud) -> None:
    before = len(clouds.requests())
    with chats(box, prefix, "anthropic") as sdk, pytest.raises(openai.InternalServerError) as caught:
        sdk.embeddings.create(model="m", input="x")
    assert caught.value.status_code == 501
    assert (caught.value.code, caught.value.type) == ("unsupported", "unsupported")
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(clouds.requests()) == before
