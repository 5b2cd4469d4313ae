"""The row "429: Rate limit or quota exceeded" of the users' second document, and `rate_limit_exceeded` of the third, as
the official SDKs see them."""

import hashlib
from collections.abc import Iterator

import anthropic
import openai
import pytest

from tests.fakes.product import Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
PREFIXES = ("/v1", "/api/client/v1")
ASK = [{"role": "user", "content": "What is the capital of France?"}]
TEMPLATE = '[[keys]]\nname = "{0}"\nhash = "sha256:{1}"\nlimits = {{ {2} }}\n'


def key(name: str, limits: str) -> str:
    return TEMPLATE.format(name, hashlib.sha256(name.encode()).hexdigest(), limits)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    tables = key("rate", "requests_per_minute = 1") + key("quota", "tokens_per_month = 1")
    with product(tmp_path_factory.mktemp("box"), tables + runtime("gpt-4", "--tokens", "5")) as running:
        running.ready("gpt-4")
        for name in ("rate", "quota"):  # both are used up from here on
            with openai.OpenAI(base_url=f"{running.url}/v1", api_key=name, max_retries=0) as sdk:
                sdk.chat.completions.create(model="gpt-4", messages=ASK)  # type: ignore[arg-type]
        yield running


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_429_rate_limit_exceeded(box: Product, prefix: str, stream: bool) -> None:
    with (
        openai.OpenAI(base_url=box.url + prefix, api_key="rate", max_retries=0) as sdk,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        sdk.chat.completions.create(model="gpt-4", messages=ASK, stream=stream)  # type: ignore[arg-type]
    error, headers = caught.value, caught.value.response.headers
    assert (error.status_code, error.type, error.code) == (429, "rate_limit_exceeded", "rate_limit_exceeded")
    assert 1 <= int(headers["retry-after"]) <= 60
    assert 0 < int(headers["retry-after-ms"]) <= 60_000
    assert "x-should-retry" not in headers
    assert headers["x-ratelimit-limit-requests"] == "1"
    assert headers["x-ratelimit-remaining-requests"] == "0"


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_429_quota_exceeded(box: Product, prefix: str, stream: bool) -> None:
    """The SDK is left to its own retries, of which it makes none."""
    with (
        openai.OpenAI(base_url=box.url + prefix, api_key="quota") as sdk,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        sdk.chat.completions.create(model="gpt-4", messages=ASK, stream=stream)  # type: ignore[arg-type]
    error, headers = caught.value, caught.value.response.headers
    assert (error.status_code, error.type, error.code) == (429, "rate_limit_exceeded", "insufficient_quota")
    assert headers["x-should-retry"] == "false"
    assert 0 < int(headers["retry-after"]) <= 31 * 86_400
    assert "tokens_per_month" in error.message


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("name", ["rate", "quota"])
def test_429_on_messages(box: Product, prefix: str, name: str) -> None:
    base = (box.url + prefix).removesuffix("/v1")
    with (
        anthropic.Anthropic(base_url=base, api_key=name, max_retries=0) as sdk,
        pytest.raises(anthropic.RateLimitError) as caught,
    ):
        sdk.messages.create(model="gpt-4", max_tokens=10, messages=ASK)  # type: ignore[arg-type]
    body = caught.value.body
    assert isinstance(body, dict)
    assert (body["type"], body["error"]["type"]) == ("error", "rate_limit_error")
    assert body["error"]["code"] == {"rate": "rate_limit_exceeded", "quota": "insufficient_quota"}[name]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_401_invalid_api_token(box: Product, prefix: str) -> None:
    with (
        openai.OpenAI(base_url=box.url + prefix, api_key="cgt_wrong", max_retries=0) as sdk,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        sdk.chat.completions.create(model="gpt-4", messages=ASK)  # type: ignore[arg-type]
    assert (caught.value.type, caught.value.code) == ("authentication_error", "invalid_api_key")
