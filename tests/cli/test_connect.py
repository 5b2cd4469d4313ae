import json
import socket
from pathlib import Path

import pytest

from appliance.cli.main import main
from appliance.recipes import RECIPES

CONFIG = """
[server]
listen = "{listen}"
state_dir = "{state}"
{server}
[[keys]]
name = "k"
hash = "sha256:{hash}"

[[runtimes]]
name = "embed"
engine = "llama.cpp"
model = "/m.gguf"
kinds = ["embedding"]

[[runtimes]]
name = "qwen"
engine = "llama.cpp"
model = "/m.gguf"
{models}
"""


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["connect", *words])
    said = capsys.readouterr()
    return code, said.out, said.err


def config(path: Path, listen: str = "127.0.0.1:8000", server: str = "", models: str = "") -> str:
    file = path / "a.toml"
    file.write_text(CONFIG.format(listen=listen, state=path, server=server, models=models, hash="0" * 64))
    return str(file)


def test_without_a_client_it_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys)
    assert code == 0
    assert all(f"{name} " in out for name in RECIPES)
    assert "appliance connect CLIENT" in out.splitlines()[-1]
    _, out, _ = told(capsys, "--json")
    assert json.loads(out)["clients"]["codex"] == "Codex"


def test_address_and_model_come_from_the_configuration(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = told(capsys, "curl", "--config", config(tmp_path))
    assert code == 0
    assert "http://127.0.0.1:8000/v1/chat/completions" in out
    assert '"model": "qwen"' in out
    assert "read -rs APPLIANCE_KEY" in out


def test_the_default_model_wins_and_others_come_in_order(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = '[[models]]\nname = "{}"\nkind = "chat"\ntargets = ["qwen"]\n{}\n'
    models = (
        model.format("first", "active = false") + model.format("second", "") + model.format("third", "default = true")
    )
    _, out, _ = told(capsys, "curl", "--config", config(tmp_path, models=models), "--json")
    assert json.loads(out)["model"] == "third"
    _, out, _ = told(capsys, "curl", "--config", config(tmp_path, models=models.replace("default", "# ")), "--json")
    assert json.loads(out)["model"] == "second"


@pytest.mark.parametrize(
    ("listen", "server", "host"),
    [
        ("0.0.0.0:80", 'names = ["box.lan"]', "box.lan"),
        ("0.0.0.0:80", "", socket.gethostname()),
        ("[::1]:80", "", "[::1]"),
    ],
)
def test_who_listens_everywhere_is_reached_by_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, listen: str, server: str, host: str
) -> None:
    _, out, _ = told(capsys, "curl", "--config", config(tmp_path, listen, server), "--json")
    assert json.loads(out)["url"] == f"http://{host}:80"


@pytest.mark.parametrize("url", ["https://box:1", "https://box:1/", "https://box:1/v1", "https://box:1/v1/"])
def test_a_url_is_taken_with_or_without_its_end(capsys: pytest.CaptureFixture[str], url: str) -> None:
    code, out, _ = told(capsys, "openai-python", "--url", url, "--model", "m")
    assert code == 0
    assert "base_url='https://box:1/v1'" in out
    assert "NODE_EXTRA_CA_CERTS" in out


@pytest.mark.parametrize("words", [["nobody"], ["curl", "--config", "/nowhere.toml"], ["curl", "--url", "http://x"]])
def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    code, out, err = told(capsys, *words)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
