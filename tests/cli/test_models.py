import argparse
import json
from pathlib import Path

import pytest

from appliance.cli import models
from appliance.errors import OperatorError

CONFIG = """
[server]
state_dir = "/var/lib/a"

[[runtimes]]
name = "big"
engine = "vllm"
binary = "/opt/vllm/bin/vllm"
model = "/m"
slots = 4
env = { HF_TOKEN = "canary" }

[[models]]
name = "public"
targets = ["big"]
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("API_KEYS", raising=False)
    path = tmp_path / "a.toml"
    path.write_text(CONFIG)
    return path


def command(*words: object) -> int:
    parser = argparse.ArgumentParser()
    models.add_parser(parser.add_subparsers())
    args = parser.parse_args(["models", "explain", *map(str, words)])
    code: int = args.run(args)
    return code


@pytest.mark.parametrize("name", ["big", "public", "big@1"])
def test_a_runtime_is_found_by_its_name_its_replicas_and_its_models(
    name: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(name, "--config", file) == 0
    out = capsys.readouterr().out
    assert "--max-num-seqs 4" in out
    assert "unix:/var/lib/a/run/big.sock" in out
    assert out.splitlines()[-1].startswith("Next: ")
    assert "canary" not in out


def test_as_json_it_is_the_whole_explanation(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("big", "--config", file, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["argv"][:3] == ["/opt/vllm/bin/vllm", "serve", "/m"]
    assert ["--max-num-seqs 4", "slots"] in found["origins"]
    assert dict(found["env"])["VLLM_API_KEY"] == "***"


def test_an_unknown_name_is_told_with_the_known_ones(file: Path) -> None:
    with pytest.raises(OperatorError, match=r'no runtime "bog".*big'):
        command("bog", "--config", file)
