import argparse
import json
from pathlib import Path

import pytest

from appliance.cli import check

BAD = '[server]\nlisten = 8000\ndrian = "30s"\n'


@pytest.fixture(autouse=True)
def no_keys_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("API_KEYS", raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my box.toml"


def command(*words: object) -> int:
    parser = argparse.ArgumentParser()
    check.add_parser(parser.add_subparsers())
    args = parser.parse_args(["check", *map(str, words)])
    code: int = args.run(args)
    return code


def test_a_good_file_exits_0_and_says_how_to_serve_it(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("")
    assert command(file) == 0
    out, err = capsys.readouterr()
    assert out == f"{file} is valid. Next: appliance serve --config '{file}'\n"
    assert err == ""


def test_problems_exit_1_one_a_line_and_the_last_line_says_what_to_do(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(BAD)
    assert command(file) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{file}:2:1  `server.listen` must be text, not a whole number  put it in quotes",
        f"{file}:3:1  `server.drian` is not a setting  did you mean `drain`?",
        f"2 problems. Next: correct the file, then run: appliance check '{file}'",
    ]


def test_a_person_sees_the_line_itself_and_what_to_do_and_no_secret(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    file.write_text('[[keys]]\nname = "a"\nhash = "sk-my-very-own-key"\n[server]\ndrian = "30s"\n')
    assert command(file) == 1
    told = capsys.readouterr().out
    assert '    5 │ drian = "30s"\n      → did you mean `drain`?' in told
    assert '    3 │ hash = "***1***"' in told
    assert "my-very-own" not in told


def test_of_a_text_that_is_no_toml_no_value_is_shown(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    for text, line in (("[server\n", "    1 │ [server\n"), ('hash = "sk-my-own\n', "    1 │ hash = …\n")):
        file.write_text(text)
        assert command(file) == 1
        told = capsys.readouterr().out
        assert line in told
        assert "sk-my" not in told


def test_a_file_that_cannot_be_read_exits_2_and_names_it(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(file, "--json") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"cannot read {file}: No such file")
    assert err.splitlines()[-1].startswith("Next: ")


def test_json_has_every_problem_with_its_place(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(BAD)
    assert command(file, "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["file"] == str(file)
    assert report["ok"] is False
    assert report["problems"][0] == {
        "path": ["server", "listen"],
        "line": 2,
        "column": 1,
        "what": "`server.listen` must be text, not a whole number",
        "fix": "put it in quotes",
    }
    assert len(report["problems"]) == 2


def test_json_of_a_good_file_is_an_empty_list(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("")
    assert command(file, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(file), "ok": True, "problems": []}


def test_keys_in_the_environment_count(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text('server.listen = "0.0.0.0:8000"')
    assert command(file) == 1
    monkeypatch.setenv("API_KEYS", "k1")
    assert command(file) == 0
    assert "k1" not in capsys.readouterr().out
