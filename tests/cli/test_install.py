import argparse
import hashlib
import json
import os
import re
import stat
import sys
from pathlib import Path

import pytest

from appliance.cli import install
from appliance.cli.main import main
from appliance.config.load import load_config
from appliance.installation.found import Found, ModelFound


def test_a_dry_run_says_everything_and_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install", "--dry-run", "--root", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "would  write /etc/appliance/appliance.toml (0640, appliance:appliance)" in told
    assert "would  run useradd" in told
    assert "sk-" not in told
    assert list(tmp_path.iterdir()) == []


def test_the_first_time_a_key_is_shown_and_the_second_time_nothing_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "small.gguf").touch()
    assert main(["install", "--root", str(tmp_path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    config = tmp_path / "etc/appliance/appliance.toml"
    assert stat.S_IMODE(config.stat().st_mode) == 0o640
    assert answer["admin_key"] not in config.read_text()
    digest = hashlib.sha256(answer["admin_key"].encode()).hexdigest()
    assert load_config(config, has_environment_keys=False).keys[0].hash == f"sha256:{digest}"
    assert "/models/small.gguf" in config.read_text()
    unit = (tmp_path / "etc/systemd/system/appliance.service").read_text()
    assert not re.search("@[A-Z]+@", unit)
    config.write_text(config.read_text() + "# mine\n")
    assert main(["install", "--root", str(tmp_path), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["admin_key"] is None
    assert {step["outcome"] for step in again["steps"]} == {"kept"}
    assert config.read_text().endswith("# mine\n")


@pytest.mark.parametrize(
    ("engine", "manager", "words"),
    [
        ("", True, "put llama-server or vllm on the path, see the end of /etc/appliance/appliance.toml"),
        ("/usr/bin/llama-server", True, "appliance status"),
        ("", False, "start the service"),
    ],
)
def test_what_is_next_is_what_is_still_missing(engine: str, words: str, *, manager: bool) -> None:
    found = Found(llama_server=engine, models=(ModelFound("llama.cpp", "/models/m.gguf"),), service_manager=manager)
    assert words in install._next(argparse.Namespace(dry_run=False, no_start=False, root=Path("/")), found)


def test_uninstalling_keeps_the_owners_work_unless_told_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["install", "--root", str(tmp_path)])
    assert main(["uninstall", "--root", str(tmp_path)]) == 0
    assert "are kept" in capsys.readouterr().out
    assert (tmp_path / "etc/appliance/appliance.toml").exists()
    assert not (tmp_path / "etc/systemd/system/appliance.service").exists()
    assert main(["uninstall", "--purge", "--root", str(tmp_path)]) == 0
    assert not (tmp_path / "etc/appliance").exists()
    assert not (tmp_path / "var/lib/appliance").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="somebody who is root may change the system")
def test_only_root_changes_the_system(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["install"]) == 2
    assert "run it as root" in capsys.readouterr().err


def test_the_unit_starts_a_program_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "appliance"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bin/appliance"])
    assert main(["install", "--root", str(tmp_path / "root")]) == 0
    unit = (tmp_path / "root/etc/systemd/system/appliance.service").read_text()
    assert f"ExecStart={program} serve" in unit
