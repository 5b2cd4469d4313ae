"""Over a running server it is shown in `tests/e2e/test_upgrade.py`; here is what it says."""

import json
from pathlib import Path
from typing import Any

import pytest

from appliance.cli import reach
from appliance.cli.main import main

DONE = {"ok": True, "detail": "", "version": "2.0", "pid": 7}


@pytest.mark.parametrize(
    ("answer", "code", "last"),
    [
        (DONE, 0, "Next: appliance status"),
        ({**DONE, "ok": False, "detail": "its self-test failed"}, 1, "until then nothing has changed."),
    ],
)
def test_the_last_line_says_what_to_do(
    answer: dict[str, Any], code: int, last: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[object] = []

    def ask(_args: object, *what: object) -> dict[str, Any]:
        asked.append(what)
        return answer

    monkeypatch.setattr(reach, "ask", ask)
    assert main(["upgrade", "/opt/new", "--patience", "5"]) == code
    assert asked == [("POST", "/ops/v1/upgrade", {"binary": "/opt/new", "patience": 5.0})]
    told = capsys.readouterr().out
    assert told.rstrip().endswith(last)
    assert answer["detail"] in told
    assert main(["upgrade", "/opt/new", "--json"]) == code
    assert json.loads(capsys.readouterr().out) == answer


def test_a_name_is_looked_for_on_the_path_and_else_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def ask(_args: object, _method: str, _path: str, body: dict[str, Any]) -> dict[str, Any]:
        asked.append(body["binary"])
        return DONE

    monkeypatch.setattr(reach, "ask", ask)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/bin")
    main(["upgrade", "sh"])
    main(["upgrade", "./new"])
    assert asked == ["/bin/sh", str(tmp_path / "new")]
    assert capsys.readouterr().err == ""


def test_nobody_there_is_a_mistake_in_the_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upgrade", "/opt/new", "--state-dir", str(tmp_path)]) == 2
    assert "no appliance runs with the state directory" in capsys.readouterr().err
