import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.cli import reap
from appliance.errors import OperatorError
from appliance.supervisor.state_dir import instance_of, locked
from appliance.supervisor.tree import Removed, Tags

SLEEPS = "import time; print('up', flush=True); time.sleep(60)"


def command(*words: object) -> int:
    parser = argparse.ArgumentParser()
    reap.add_parser(parser.add_subparsers())
    args = parser.parse_args(["reap", *map(str, words)])
    code: int = args.run(args)
    return code


@pytest.fixture(autouse=True)
def no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERVICE_RESULT", raising=False)


def test_what_is_left_is_ended_and_the_second_time_there_is_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = dict(Tags(instance_of(tmp_path), "m").env())
    left = subprocess.Popen([sys.executable, "-c", SLEEPS], env=env, stdout=subprocess.PIPE)
    assert left.stdout
    left.stdout.readline()
    assert command("--state-dir", tmp_path, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "kept": False, "found": [left.pid], "left": []}
    left.communicate()
    assert command("--state-dir", tmp_path) == 0
    assert capsys.readouterr().out == "Nothing was left.\n"


def test_the_directory_comes_from_the_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.toml"
    file.write_text(f'[server]\nstate_dir = "{tmp_path}/state"\n')
    instance_of(tmp_path)
    assert command("--config", file) == 0
    assert not (tmp_path / "state").exists()
    with pytest.raises(OperatorError):
        command("--config", tmp_path / "absent.toml")
    capsys.readouterr()


def test_beside_a_running_server_it_refuses(tmp_path: Path) -> None:
    instance_of(tmp_path)
    with locked(tmp_path), pytest.raises(OperatorError, match="another appliance"):
        command("--state-dir", tmp_path)


@pytest.mark.parametrize(("result", "kept"), [("signal", True), ("success", False), ("timeout", False)])
def test_after_a_crash_the_models_are_left_to_the_next_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, result: str, kept: bool
) -> None:
    monkeypatch.setenv("SERVICE_RESULT", result)
    assert command("--state-dir", tmp_path, "--keep-after-crash") == 0
    assert ("left to the next start" in capsys.readouterr().out) is kept
    assert command("--state-dir", tmp_path) == 0
    assert capsys.readouterr().out == "Nothing was left.\n"


def test_what_does_not_end_is_named_and_exits_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stuck(state_dir: Path) -> Removed:
        return Removed([1, 2**22 + 1], [2**22 + 1])

    monkeypatch.setattr(reap, "reap", stuck)
    assert command("--state-dir", tmp_path) == 1
    assert f"pid {2**22 + 1} (gone)" in capsys.readouterr().out
    assert command("--state-dir", tmp_path, "--json") == 1
    assert json.loads(capsys.readouterr().out)["left"] == [2**22 + 1]


def test_one_and_many_are_counted_in_words() -> None:
    assert reap._words(Removed([1], []), kept=False) == "Ended 1 process."
    assert reap._words(Removed([1, 2], []), kept=False) == "Ended 2 processes."
