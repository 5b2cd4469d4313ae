import argparse
import hashlib
import json
import os
import shlex
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import trio

from appliance.cli import demo
from appliance.config.schema import Config
from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.errors import OperatorError
from appliance.fleet.table import FleetTable
from appliance.serve import Running


def parse(*flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    demo.add_parser(parser.add_subparsers())
    return parser.parse_args(["demo", *flags])


def row(state: ReplicaState, reason: str = "", advice: str = "") -> ReplicaStatus:
    return ReplicaStatus(demo.CHAT, demo.CHAT, "llama.cpp", state, 0.0, reason, advice=advice)


def fake_serve(
    monkeypatch: pytest.MonkeyPatch, *states: ReplicaStatus, error: Exception | None = None, stop: bool = True
) -> list[str]:
    """A product that goes through these states, then stops as if Ctrl-C had been pressed (or waits)."""
    story: list[str] = []

    async def serve(config: Config, *, log: object, task_status: trio.TaskStatus[Running]) -> None:
        if error:
            raise error
        fleet = FleetTable()
        task_status.started(Running("127.0.0.1", 8123, fleet))
        try:
            for state in states:
                fleet.set_replica(state)
                await trio.sleep(1)
            if not stop:
                await trio.sleep_forever()
        finally:
            story.append("stopped")

    monkeypatch.setattr(demo, "serve", serve)
    return story


@pytest.fixture
def ready(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> argparse.Namespace:
    (tmp_path / "m.gguf").touch()
    monkeypatch.setattr(demo, "_port_problem", lambda host, port: None)
    return parse("--model", str(tmp_path / "m.gguf"), "--binary", sys.executable, "--state-dir", str(tmp_path / "s"))


def test_the_config_holds_the_hash_of_the_key_and_never_the_key(tmp_path: Path) -> None:
    config = demo.build_config(parse("--host", "::1", "--port", "9"), tmp_path / "m", tmp_path, "the-key")
    assert config.keys[0].hash == "sha256:" + hashlib.sha256(b"the-key").hexdigest()
    assert "the-key" not in repr(config)
    assert config.server.listen == "[::1]:9"


def test_the_chat_model_starts_at_boot_and_the_embedder_with_its_first_request(tmp_path: Path) -> None:
    chat, embed = demo.build_config(parse(), tmp_path / "m", tmp_path, "k").runtimes
    assert (chat.name, chat.start, chat.kinds) == (demo.CHAT, "boot", ("chat", "completion"))
    assert (embed.name, embed.start, embed.kinds) == (demo.EMBED, "on-demand", ("embedding",))
    assert chat.model == embed.model == str(tmp_path / "m")


def test_the_curl_line_is_one_line_that_a_shell_takes_apart_correctly() -> None:
    lines = demo.instructions("http://127.0.0.1:8000", "KEY", "/s").splitlines()
    for line in (line for line in lines if line.startswith("curl")):
        words = shlex.split(line)
        assert "Authorization: Bearer KEY" in words
        assert json.loads(words[words.index("-d") + 1])["model"] in (demo.CHAT, demo.EMBED)
    assert sum(line.startswith("curl -N http://127.0.0.1:8000/v1/chat/completions ") for line in lines) == 1


def test_the_console_is_one_command_away() -> None:
    lines = demo.instructions("http://h:1", "KEY", "/my state", ".venv/bin/appliance").splitlines()
    assert ".venv/bin/appliance console --state-dir '/my state'" in lines
    assert ".venv/bin/appliance status --state-dir '/my state'" in lines


def test_the_python_lines_compile() -> None:
    lines = demo.instructions("http://h:1", "KEY", "/s").splitlines()
    start = lines.index("from openai import OpenAI")
    compile("\n".join(lines[start : start + 4]), "snippet", "exec")


def test_a_crash_or_a_start_given_up_is_a_failure_with_its_reason() -> None:
    assert demo.failure(row(ReplicaState.BACKOFF, "out of memory")) == "out of memory"
    assert demo.failure(row(ReplicaState.STOPPED, "no progress")) == "no progress"
    assert demo.failure(row(ReplicaState.QUARANTINED, "no library")) == "no library"
    assert demo.failure(row(ReplicaState.QUARANTINED, "no library", "Install it.")) == "no library\nInstall it."
    assert demo.failure(row(ReplicaState.STOPPED)) is None
    assert demo.failure(row(ReplicaState.LOADING)) is None


def test_progress_says_each_fact_once() -> None:
    said: list[str] = []
    progress = demo.Progress(said.append)
    for line in ("a", "a", "b", "b"):
        progress.say(line)
    assert said == ["a", "b"]


async def test_a_model_that_becomes_ready_is_announced_and_a_stop_ends_with_zero(
    ready: argparse.Namespace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    autojump_clock: trio.abc.Clock,
) -> None:
    fake_serve(monkeypatch, row(ReplicaState.LOADING), row(ReplicaState.READY))
    assert await demo._demo(ready) == 0
    out = capsys.readouterr().out
    assert f"{demo.CHAT}: loading\n" in out
    assert "curl -N http://127.0.0.1:8123/v1/chat/completions" in out
    assert out.count("Authorization: Bearer") == 2


async def test_a_stop_while_the_model_loads_ends_with_zero(
    ready: argparse.Namespace, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.abc.Clock
) -> None:
    fake_serve(monkeypatch, row(ReplicaState.LOADING))
    assert await demo._demo(ready) == 0


async def test_a_model_that_does_not_load_is_told_with_its_reason_and_everything_is_stopped(
    ready: argparse.Namespace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    autojump_clock: trio.abc.Clock,
) -> None:
    story = fake_serve(monkeypatch, row(ReplicaState.STARTING), row(ReplicaState.BACKOFF, "bad magic"), stop=False)
    assert await demo._demo(ready) == 1
    assert "did not load: bad magic" in capsys.readouterr().err
    assert story == ["stopped"]


async def test_a_server_that_cannot_start_is_one_line(
    ready: argparse.Namespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_serve(monkeypatch, error=OperatorError("the state directory is not ours"))
    assert await demo._demo(ready) == 1
    assert capsys.readouterr().err == "appliance: the state directory is not ours\n"


def test_a_taken_port_is_one_line_before_anything_is_prepared(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert demo.run(parse("--port", str(port), "--binary", sys.executable, "--model", "/nowhere")) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"port {port}" in err
    assert "--port" in err


def test_ctrl_c_before_the_server_runs_ends_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(binary: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "check_engine", interrupt)
    assert demo.run(parse()) == 130


def test_a_missing_engine_is_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OperatorError, match="--binary /nowhere"):
        demo.check_engine("/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    with pytest.raises(OperatorError, match="no llama-server found"):
        demo.check_engine("")


async def test_a_model_file_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    progress = demo.Progress(lambda line: None)
    with pytest.raises(OperatorError, match="--model /nowhere"):
        await demo.find_model("/nowhere", progress)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    with pytest.raises(OperatorError, match=str(tmp_path)):
        await demo.find_model("", progress)


def packaged(monkeypatch: pytest.MonkeyPatch, assemble: Callable[..., None]) -> None:
    package = ModuleType("package")
    package.assemble = assemble  # type: ignore[attr-defined]
    monkeypatch.setattr(demo, "find_spec", lambda name: package)
    monkeypatch.setattr(demo, "import_module", lambda name: package)


async def test_the_packaged_model_is_put_together_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    packaged(monkeypatch, lambda path, overwrite: path.write_bytes(b"model"))
    said: list[str] = []
    for _ in range(2):
        found = await demo.find_model("", demo.Progress(said.append))
        assert found.read_bytes() == b"model"
    assert len(said) == 1
    assert list(found.parent.iterdir()) == [found]


async def test_a_model_that_cannot_be_put_together_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(path: Path, *, overwrite: bool) -> None:
        path.write_bytes(b"half")
        raise ValueError("wrong sum")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    packaged(monkeypatch, broken)
    with pytest.raises(OperatorError, match="wrong sum"):
        await demo.find_model("", demo.Progress(lambda line: None))
    assert [list(files) for _, _, files in os.walk(tmp_path) if files] == []
