import json
from pathlib import Path

import pytest

from appliance.cli.main import main


def test_lines_with_ids_and_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "a.toml"
    config.write_text(f'[server]\nstate_dir = "{tmp_path}/s"\nlisten = "127.0.0.1:0"\n')
    config.chmod(0o644)
    assert main(["doctor", "--config", str(config)]) == 0
    told = capsys.readouterr().out
    assert "! config.mode" in told
    assert f"→ chmod o-r {config}" in told
    assert "to look at" in told.splitlines()[-1]
    marks = [line[0] for line in told.splitlines() if line[:1] in "✓!✗" and line]
    assert marks == sorted(marks, key="✓!✗".index), "the worst is what is seen last"


def test_what_cannot_work_is_exit_code_1_and_json_has_it_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "a.toml"
    config.write_text("nonsense = 1\n")
    assert main(["doctor", "--config", str(config), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["grade"] == "error"
    assert "config.valid" in {finding["id"] for finding in told["findings"] if finding["grade"] == "error"}


def test_without_a_configuration_it_says_how_to_get_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "none.toml"
    assert main(["doctor", "--config", str(missing)]) == 1
    told = capsys.readouterr().out
    assert f"✗ config.valid      there is no configuration {missing}" in told
    assert "→ appliance install makes a first one" in told
    assert "config.mode" not in told
