import argparse

import pytest

from appliance.cli import console, reach

ANSWER = {"url": "http://box:8000", "path": "/console/login#abc", "code": "abc", "seconds": 600.0}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    seen: list[tuple[str, str]] = []

    def ask(args: argparse.Namespace, method: str, path: str) -> dict[str, object]:
        seen.append((method, path))
        return ANSWER

    monkeypatch.setattr(reach, "ask", ask)
    return seen


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    parser = argparse.ArgumentParser()
    console.add_parser(parser.add_subparsers())
    args = parser.parse_args(["console", *words])
    assert args.run(args) == 0
    return capsys.readouterr().out


def test_the_link_is_a_line_of_its_own(asked: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]) -> None:
    first, _, last = said(capsys).splitlines()
    assert first == "http://box:8000/console/login#abc"
    assert "within 10 minutes" in last
    assert asked == [("POST", "/ops/v1/console/link")]


def test_a_server_that_was_named_by_its_url_is_named_so_in_the_link(
    asked: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, "--url", "https://gpubox.lan/").startswith("https://gpubox.lan/console/login#abc\n")
