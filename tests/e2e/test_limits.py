"""Limits of a key, as its owner meets them."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from tests.fakes.product import Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
KEYS = {"few": "sk-few", "small": "sk-small", "one": "sk-one"}
LIMITS = {"few": "requests_per_minute = 3", "small": "tokens_per_minute = 100", "one": "concurrent = 1"}
ASK = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    keys = "\n".join(
        f'[[keys]]\nname = "{name}"\nhash = "sha256:{hashlib.sha256(text.encode()).hexdigest()}"\n'
        f"limits = {{ {LIMITS[name]} }}"
        for name, text in KEYS.items()
    )
    tables = f"{keys}\n{runtime('m', '--tokens', '30')}\n{runtime('slow', '--first-byte-delay', '1')}"
    with product(tmp_path_factory.mktemp("box"), tables) as running:
        running.ready("m", "slow")
        yield running


def client(box: Product, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{box.url}/v1", api_key=KEYS[key], max_retries=0)


def test_a_minutes_requests_and_not_one_more(box: Product) -> None:
    with client(box, "few") as sdk:
        for left in ("2", "1", "0"):
            reply = sdk.chat.completions.with_raw_response.create(model="m", messages=ASK)  # type: ignore[arg-type]
            assert reply.headers["x-ratelimit-remaining-requests"] == left
        with pytest.raises(openai.RateLimitError) as caught:
            sdk.chat.completions.create(model="m", messages=ASK)  # type: ignore[arg-type]
    assert caught.value.code == "rate_limit_exceeded"
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60
    assert "requests_per_minute" in caught.value.message


def test_tokens_are_charged_as_the_engine_counts_them(box: Product) -> None:
    with client(box, "small") as sdk:
        first = sdk.chat.completions.with_raw_response.create(model="m", messages=ASK, max_tokens=30)  # type: ignore[arg-type]
        usage = first.parse().usage
        assert usage is not None
        assert usage.total_tokens > 30
        sdk.chat.completions.create(model="m", messages=ASK, max_tokens=30)  # type: ignore[arg-type]
        with pytest.raises(openai.RateLimitError, match="tokens"):
            sdk.chat.completions.create(model="m", messages=ASK, max_tokens=30)  # type: ignore[arg-type]


def test_requests_at_once_are_counted_and_freed(box: Product) -> None:
    def ask(_: int) -> int:
        with client(box, "one") as sdk:
            try:
                sdk.chat.completions.create(model="slow", messages=ASK)  # type: ignore[arg-type]
            except openai.RateLimitError as error:
                return error.status_code
        return 200

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(ask, range(4))) == [200, 429, 429, 429]
    assert ask(0) == 200
