"""The command against a server that answers as told; how it looks is in tests/cli/test_board.py."""

import json

import pytest

from tests.cli.test_orders import Server, run, server

__all__ = ["server"]


@pytest.fixture
def answering(server: Server) -> Server:
    row = {"replica": "m", "state": "ready", "percent": None, "seconds": 5, "busy": 0, "starts": 1, "pid": 7}
    row |= {"stage": "", "progress": "", "reason": "", "advice": ""}
    server.answer = (200, {"replicas": [row], "backends": [], "models": []})
    return server


def test_a_pipe_gets_plain_lines_without_colours(answering: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(answering, "status") == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split()[:2] == ["REPLICA", "STATE"]
    assert "\x1b" not in out


def test_a_server_without_a_model_says_so_and_what_is_next(
    answering: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    answering.answer = (200, {"replicas": [], "backends": [], "models": []})
    assert run(answering, "status") == 0
    assert "has no model yet. Next: " in capsys.readouterr().out


def test_programs_get_what_the_server_said(answering: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(answering, "status", "--json") == 0
    assert json.loads(capsys.readouterr().out) == answering.answer[1]
