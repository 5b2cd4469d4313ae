import json
import re
import shlex
import tomllib

import pytest

from appliance.recipes import KEY, RECIPES

URL = "http://gpubox.lan:8000"
NASTY = 'it\'s "a" $model/x'


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_names_server_and_model_and_takes_the_key_from_the_variable(name: str) -> None:
    text = "\n".join(part.text for part in RECIPES[name].parts(URL, "qwen"))
    assert URL in text
    assert "qwen" in text
    assert KEY in text
    assert "sk-" not in text


@pytest.mark.parametrize("name", RECIPES)
def test_a_model_with_any_name_stays_one_word(name: str) -> None:
    for part in RECIPES[name].parts(URL, NASTY):
        if part.about == "Python":
            compile(part.text, "recipe", "exec")
        if part.about.startswith("a shell"):
            words = [word for line in part.text.splitlines() for word in shlex.split(line)]
            assert not [word for word in words if "$model" in word and NASTY not in word.replace('\\"', '"')]
        if part.about.endswith("config.toml"):
            assert tomllib.loads(part.text)["model"] == NASTY
        if part.about.endswith(".mjs"):
            assert json.dumps(NASTY) in part.text


def test_curl_sends_the_request_that_it_shows() -> None:
    (part,) = RECIPES["curl"].parts(URL, NASTY)
    words = shlex.split(part.text)
    assert json.loads(words[words.index("-d") + 1])["model"] == NASTY
    assert f"Authorization: Bearer ${KEY}" in words


def test_codex_is_given_the_responses_api_and_the_name_of_the_variable() -> None:
    provider = tomllib.loads(RECIPES["codex"].parts(URL, "m")[0].text)["model_providers"]["appliance"]
    assert provider == {"name": "appliance", "base_url": f"{URL}/v1", "env_key": KEY, "wire_api": "responses"}


def test_claude_code_is_given_the_root() -> None:
    (part,) = RECIPES["claude-code"].parts(URL, "m")
    assert re.search(r"^export ANTHROPIC_BASE_URL=http://gpubox\.lan:8000$", part.text, re.MULTILINE)


@pytest.mark.parametrize(("url", "loopback"), [(URL, False), ("http://127.0.0.1:8000", True), ("https://[::1]", True)])
def test_a_container_is_on_the_network_on_which_it_can_reach_the_server(url: str, loopback: bool) -> None:
    (part,) = RECIPES["open-webui"].parts(url, "m")
    assert ("--network host -e PORT=3000" in part.text) is loopback
    assert ("-p 3000:8080" in part.text) is not loopback
