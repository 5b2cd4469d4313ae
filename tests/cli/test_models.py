import argparse
import json
from pathlib import Path

import pytest

from appliance.cli import models
from appliance.errors import OperatorError
from tests.fakes.product import product, runtime
from tests.ops.test_orders import ADMIN, ADMIN_TABLE

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


@pytest.mark.slow
def test_a_server_over_the_network_explains_as_its_file_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    public = '[[models]]\nname = "public"\nkind = "chat"\ntargets = ["m"]\n'
    with product(tmp_path / "b", ADMIN_TABLE + runtime("m") + public) as box:
        key = tmp_path / "key"
        key.write_text(ADMIN)
        far = ["--url", box.url, "--key-file", key]
        for name in ("m", "public", "m@1"):
            assert command(name, *far, "--json") == 0
            told = json.loads(capsys.readouterr().out)
            assert command(name, "--config", box.config, "--json") == 0
            assert told == json.loads(capsys.readouterr().out)
        assert command("m", *far) == 0
        assert capsys.readouterr().out.endswith("in the configuration file of that server; `args` come last and win.\n")
        with pytest.raises(OperatorError, match=r'no runtime "nobody" on that server \(runtimes: m\)'):
            command("nobody", *far)
