import pytest

from appliance.config.load import inspect
from appliance.installation.first_config import first_config
from appliance.installation.found import Found, ModelFound

HASH = f"sha256:{'0' * 64}"
GGUF, OTHER = ModelFound("llama.cpp", '/models/a "b".gguf'), ModelFound("llama.cpp", "/srv/models/a-b.gguf")
SAFE = ModelFound("vllm", "/models/Qwen")


@pytest.mark.parametrize(
    ("found", "names"),
    [
        (Found(), []),
        (Found(models=(GGUF, SAFE)), []),
        (Found(models=(GGUF, SAFE), llama_server="/usr/bin/llama-server"), ["a-b"]),
        (Found(models=(GGUF, OTHER, SAFE), llama_server="/l", vllm="/v"), ["a-b", "a-b-2", "qwen"]),
    ],
)
def test_it_is_valid_and_runs_what_can_run(found: Found, names: list[str]) -> None:
    config, problems = inspect(first_config(found, HASH), has_environment_keys=False)
    assert problems == []
    assert config is not None
    assert [runtime.name for runtime in config.runtimes] == names
    assert [runtime.start for runtime in config.runtimes] == ["boot", "on-demand", "on-demand"][: len(names)]
    assert config.keys[0].hash == HASH


def test_what_cannot_run_is_named() -> None:
    text = first_config(Found(models=(SAFE,)), HASH)
    assert "# /models/Qwen was found, and no vllm to run it." in text
    assert "No model was found" not in text


def test_what_cannot_run_yet_is_there_to_be_uncommented() -> None:
    text = first_config(Found(models=(SAFE,)), HASH)
    head, mark, rest = text.partition("`appliance reload`:\n#\n")
    assert mark
    config, problems = inspect(head + "\n" + rest.replace("# ", ""), has_environment_keys=False)
    assert problems == []
    assert config is not None
    assert [(runtime.name, runtime.engine) for runtime in config.runtimes] == [("qwen", "vllm")]
