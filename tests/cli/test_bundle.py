"""A bundle of a running product whose every secret, and every prompt, is a canary."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.cli.main import main
from tests.fakes.product import KEY, KEY_TABLE, Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
CANARIES = {
    "key": KEY,
    "hash": KEY_TABLE.partition("sha256:")[2][:64],
    "environment": "canary-environment-key",
    "backend": "canary-backend-credential",
    "engine": "canary-engine-variable",
    "prompt": "canary-prompt-text",
}


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Product]:
    tables = (
        runtime("m", "--tokens", "3", extra=f'env = {{ HF_TOKEN = "{CANARIES["engine"]}" }}')
        + '[[backends]]\nname = "b"\nengine = "openai"\nurl = "http://127.0.0.1:9"\nkey_env = "BACKEND_KEY"\n'
    )
    environment = {"API_KEYS": CANARIES["environment"], "BACKEND_KEY": CANARIES["backend"]}
    with product(tmp_path, tables, environment=environment) as running:
        running.ready("m")
        yield running


def test_no_secret_and_no_prompt_is_in_it(
    box: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": CANARIES["prompt"]}]}
    assert box.post("/v1/chat/completions", asked).status_code == 200
    with (box.state / "s" / "logs" / "m.log").open("a") as log:  # as a talkative engine does
        log.write(
            f"INFO 11-25 [logger.py:39] Received request 1: prompt: '{CANARIES['prompt']}'\n{CANARIES['prompt']}\n"
        )
    monkeypatch.setenv("API_KEYS", CANARIES["environment"])
    monkeypatch.setenv("BACKEND_KEY", CANARIES["backend"])
    target = tmp_path / "bundle.tar.gz"
    assert main(["doctor", "--config", str(box.config), "--bundle", str(target)]) in (0, 1)
    assert f"Wrote {target}" in capsys.readouterr().out
    assert target.stat().st_mode & 0o777 == 0o600

    inside = {}
    with tarfile.open(fileobj=io.BytesIO(target.read_bytes())) as archive:
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            inside[member.name.partition("/")[2]] = file.read().decode()
    for name, text in inside.items():
        assert [what for what, canary in CANARIES.items() if canary in text] == [], name
    keys = [path.read_text().strip() for path in (box.state / "s" / "run").glob("*.key")]
    assert not any(key in text for key in keys for text in inside.values())

    assert {"README.txt", "version.txt", "versions.json", "doctor.json", "config.json", "state.json"} <= set(inside)
    assert "appliance_build_info" in inside["metrics.txt"]
    assert json.loads(inside["state.json"])["replicas"][0]["replica"] == "m"
    assert json.loads(inside["config.json"])["server"]["state_dir"] == str(box.state / "s")
    assert "logs/m.txt" in inside

    assert main(["doctor", "--config", str(box.config), "--bundle", str(target)]) == 2
    assert "File exists" in capsys.readouterr().err
