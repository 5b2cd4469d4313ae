import argparse
import json
import socket
from dataclasses import fields
from pathlib import Path

import pytest

from appliance.cli import engine
from appliance.errors import OperatorError
from appliance.scripted.script import Script


def parse(*flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    engine.add_parser(parser.add_subparsers())
    return parser.parse_args(["_engine", *flags])


def test_without_flags_it_is_the_script_that_does_no_harm() -> None:
    args = parse()
    assert Script(**{field.name: getattr(args, field.name) for field in fields(Script)}) == Script()


def test_every_field_of_the_script_has_its_flag() -> None:
    args = parse("--socket", "/x", "--load-seconds", "1.5", "--crash-after-tokens", "0", "--only-done", "--garbage")
    assert (args.socket, args.load_seconds, args.crash_after_tokens, args.only_done) == ("/x", 1.5, 0, True)
    assert args.garbage == "http"
    assert parse("--garbage", "event").garbage == "event"


def test_an_address_in_use_is_a_mistake_of_the_operator(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OperatorError, match="cannot listen"):
            engine.run(parse("--port", str(taken.getsockname()[1])))


def test_the_environment_is_written_where_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_MARK", "seen")
    target = tmp_path / "environment.json"
    assert engine.run(parse("--exit-after-ready", "3", "--print-env", str(target))) == 3
    assert json.loads(target.read_text())["A_MARK"] == "seen"
