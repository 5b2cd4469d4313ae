from pathlib import Path

import pytest

from appliance.cli.main import build_parser, main
from tests.fakes.users import somebody_else


def test_no_command_is_told_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    told = capsys.readouterr().err
    assert "Start with" in told
    assert "say what every model and process does" in told


def test_a_command_that_there_is_not_is_one_line_with_the_one_that_was_meant(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["statsu"]) == 2
    assert capsys.readouterr().err == "appliance: there is no command 'statsu'; did you mean `appliance status`?\n"
    assert main(["zzz"]) == 2
    assert capsys.readouterr().err == "appliance: there is no command 'zzz'; `appliance --help` lists all.\n"


def test_a_mistake_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--config", "/no/such/file.toml"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("appliance: ")
    assert "Traceback" not in told
    assert told.count("\n") == 1


def test_every_listed_command_is_documented() -> None:
    page = (Path(__file__).parents[2] / "appliance" / "docs" / "commands.md").read_text()
    parser = build_parser()
    commands = next(
        action.choices for action in parser._actions if action.choices is not None and action.dest == "command"
    )
    assert isinstance(commands, dict)
    for name, sub in commands.items():
        if name.startswith("_"):
            continue
        assert f"`appliance {name}" in page
        row = next(line for line in page.splitlines() if f"`appliance {name}" in line)
        if "[SERVER]" in row:
            row += page.partition("| SERVER |")[2]
        for action in sub._actions:
            assert all(flag in row for flag in action.option_strings if flag not in {"-h", "--help"}), (name, action)


def test_what_one_may_not_read_is_one_line_with_the_way_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shut = tmp_path / "state"
    shut.mkdir(mode=0)
    with somebody_else():
        assert main(["usage", "--state-dir", str(shut)]) == 2
    told = capsys.readouterr().err
    assert f"{shut}/usage.db: Permission denied. Run this as the appliance's own user or as root (sudo)." in told
