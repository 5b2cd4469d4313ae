import pytest

from appliance.config.check import Finding
from appliance.config.check_clouds import check_clouds
from appliance.config.load import parse
from appliance.config.locate import dotted

KEYS = 'keys = [{ name = "a", hash = "x", %s }]\n'
OPENAI = 'providers = [{ name = "openai", key_env = "K" }]\n'


def findings(text: str) -> list[Finding]:
    config, problems = parse(text)
    assert config is not None, problems
    return list(check_clouds(config))


@pytest.mark.parametrize(
    "text",
    [
        "",
        'providers = [{ name = "openai" }, { name = "anthropic" }, { name = "gemini" }]',
        'providers = [{ name = "openai", url = "https://llm.example.com/v1" }]',
        'providers = [{ name = "gemini", proxy = "http://proxy.lan:3128" }]',
        'providers = [{ name = "gemini", url = "http://127.0.0.1:9/v1beta/openai" }]',
        OPENAI + 'models = [{ name = "m", targets = ["openai/gpt-5"], kind = "chat" }]',
        OPENAI + 'models = [{ name = "m", targets = ["openai/x"], kind = "embedding" }]',
        OPENAI + KEYS % 'provider_keys = { openai = "/f" }',
        KEYS % "local_only = true",
        (
            'backends = [{ name = "openai", engine = "vllm", url = "http://h" }]\n'
            'models = [{ name = "m", targets = ["openai/x"] }]'
        ),
    ],
)
def test_good_ones(text: str) -> None:
    assert findings(text) == []


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ('providers = [{ name = "openai" }, { name = "openai" }]', "providers[1].name", "already"),
        (
            'providers = [{ name = "openai" }]\nbackends = [{ name = "openai", engine = "vllm", url = "http://h" }]',
            "providers[0].name",
            "backend is called",
        ),
        ('providers = [{ name = "openai", url = "ftp://x" }]', "providers[0].url", "must start with http"),
        ('providers = [{ name = "openai", url = "http://10.0.0.1" }]', "providers[0].url", "in the clear"),
        ('providers = [{ name = "openai", url = "https://u:p@x" }]', "providers[0].url", "must not hold a credential"),
        ('providers = [{ name = "openai", url = "https://a b" }]', "providers[0].url", "space"),
        ('providers = [{ name = "openai", proxy = "proxy.lan:3128" }]', "providers[0].proxy", "must start with http"),
        (
            'providers = [{ name = "openai", proxy = "http://u:p@proxy" }]',
            "providers[0].proxy",
            "must not hold a credential",
        ),
        ('providers = [{ name = "openai", key_env = "A", key_file = "b" }]', "providers[0].key_file", "both"),
        ('providers = [{ name = "openai", max_connections = 0 }]', "providers[0].max_connections", "more than 0"),
        (KEYS % 'provider_keys = { openai = "/f" }', "keys[0].provider_keys.openai", "not a provider that is listed"),
        (OPENAI + KEYS % 'provider_keys = { opnai = "/f" }', "keys[0].provider_keys.opnai", "not a provider"),
        (OPENAI + KEYS % 'provider_keys = { openai = "" }', "keys[0].provider_keys.openai", "names no file"),
        (
            OPENAI + KEYS % 'local_only = true, provider_keys = { openai = "/f" }',
            "keys[0].provider_keys.openai",
            "never asks",
        ),
        ('models = [{ name = "m", targets = ["openai/x"] }]', "models[0].targets[0]", "provider that is listed"),
        (
            OPENAI + 'models = [{ name = "m", targets = ["openai/"] }]',
            "models[0].targets[0]",
            "provider that is listed",
        ),
        (
            'providers = [{ name = "openai" }]\nmodels = [{ name = "m", targets = ["openai/x"] }]',
            "models[0].targets[0]",
            "no key of yours",
        ),
        (
            (
                'providers = [{ name = "anthropic", key_env = "K" }]\n'
                'models = [{ name = "m", targets = ["anthropic/x"], kind = "embedding" }]'
            ),
            "models[0].targets[0]",
            "no models of the kind",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, path: str, words: str) -> None:
    (found,) = findings(text)
    assert dotted(found.path) == path
    assert words in found.what
    assert found.fix
