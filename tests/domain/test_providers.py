import pytest

from appliance.domain.engines import ENGINES
from appliance.domain.providers import PROVIDERS, Byok
from appliance.domain.secret import Secret


@pytest.mark.parametrize(
    ("name", "url", "address", "path"),
    [
        ("openai", "", "https://api.openai.com", "/v1/chat/completions"),
        ("anthropic", "", "https://api.anthropic.com", "/v1/chat/completions"),
        ("gemini", "", "https://generativelanguage.googleapis.com", "/v1beta/openai/chat/completions"),
        ("openai", "https://h/v1/", "https://h", "/v1/chat/completions"),
        ("openai", "https://h/proxy/openai/v1", "https://h/proxy/openai", "/v1/chat/completions"),
        ("gemini", "https://h/v1beta/openai/", "https://h", "/v1beta/openai/chat/completions"),
        ("gemini", "http://127.0.0.1:9", "http://127.0.0.1:9", "/v1beta/openai/chat/completions"),
    ],
)
def test_where_a_provider_is(name: str, url: str, address: str, path: str) -> None:
    api = PROVIDERS[name]
    assert str(api.address(url)) == address
    assert api.path("/v1/chat/completions") == path


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_provider_is_an_engine_in_the_cloud(name: str) -> None:
    assert ENGINES[PROVIDERS[name].engine].cloud


def test_a_callers_key_never_shows_itself() -> None:
    assert "sk-1" not in repr(Byok("openai", Secret("sk-1")))
