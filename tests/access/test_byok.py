from typing import Any

import pytest

from appliance.access.byok import byok_of
from appliance.domain.http import Headers
from appliance.domain.providers import Byok
from appliance.domain.secret import Secret
from appliance.errors import GatewayError


def read(*headers: tuple[str, str]) -> Byok | None:
    return byok_of(list(headers), {})


def test_nearly_every_request_says_nothing() -> None:
    assert read(("authorization", "Bearer k"), ("x-api-key", "k")) is None


def test_a_provider_and_a_key() -> None:
    assert read(("x-byok-provider", " OpenAI "), ("x-byok-api-key", " sk-1 ")) == Byok("openai", Secret("sk-1"))


def test_a_provider_alone_may_have_a_key_that_is_kept() -> None:
    assert read(("x-byok-provider", "gemini")) == Byok("gemini")


@pytest.mark.parametrize(
    "headers",
    [
        [("x-byok-provider", "openai.com"), ("x-byok-api-key", "sk-1")],
        [("x-byok-provider", "https://evil.example"), ("x-byok-api-key", "sk-1")],
        [("x-byok-provider", ""), ("x-byok-api-key", "sk-1")],
        [("x-byok-api-key", "sk-1")],
        [("x-byok-provider", "openai"), ("x-byok-provider", "gemini"), ("x-byok-api-key", "sk-1")],
    ],
)
def test_another_provider_is_refused(headers: Headers) -> None:
    with pytest.raises(GatewayError) as caught:
        read(*headers)
    assert caught.value.code == "invalid_byok_provider"
    assert "sk-1" not in str(caught.value)


@pytest.mark.parametrize("key", ["", " ", "a b", "clé-canary", "canary\tx", "canary\x00", "c" * 5000])
def test_a_key_that_cannot_be_one_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read(("x-byok-provider", "openai"), ("x-byok-api-key", key))
    assert caught.value.code == "missing_byok_key"
    assert "canary" not in str(caught.value)


def test_two_keys_are_refused() -> None:
    with pytest.raises(GatewayError) as caught:
        read(("x-byok-provider", "openai"), ("x-byok-api-key", "a"), ("x-byok-api-key", "b"))
    assert caught.value.code == "missing_byok_key"


def test_it_is_found_out_once_and_never_shows_itself() -> None:
    known: dict[object, Any] = {}
    headers = [("x-byok-provider", "openai"), ("x-byok-api-key", "sk-canary")]
    first = byok_of(headers, known)
    assert byok_of([], known) is first
    assert "canary" not in repr(known)
