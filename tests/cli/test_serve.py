import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import trio

from appliance.cli import serve as command
from appliance.cli.main import main
from appliance.domain.calls import Usage
from appliance.errors import OperatorError
from appliance.observe.log import ExchangeRecord
from tests.fakes.product import Product, product, runtime

pytestmark = pytest.mark.usefixtures("root_logger")
RECORD = ExchangeRecord("r1", "", "m", "chat", "", "", 200, "ok", "", False, Usage(), None, 1.0, 1, "::1")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "a.toml"
    file.write_text(f'[server]\nlog_format = "json"\nstate_dir = "{tmp_path}"\n')
    return file


def fake_serve(monkeypatch: pytest.MonkeyPatch, end: BaseException | None = None) -> None:
    """A product that tells about one exchange and ends."""

    async def serve(_config: object, *, log: Callable[[ExchangeRecord], None], **_rest: object) -> None:
        await trio.lowlevel.checkpoint()
        log(RECORD)
        logging.getLogger("appliance.test").info("stopped")
        if end is not None:
            raise end

    monkeypatch.setattr(command, "serve", serve)


def test_every_problem_of_the_file_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "a.toml"
    config.write_text('[server]\nlistn = "x"\n[[runtimes]]\nname = "a"\nengine = "lama"\n')
    assert main(["serve", "--config", str(config)]) == 2
    told = capsys.readouterr().err
    assert "listn" in told
    assert "lama" in told
    assert "a.toml:2:1" in told


def test_without_any_configuration_it_is_told_where_one_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("appliance.cli.serve.DEFAULT_CONFIG", str(tmp_path / "none.toml"))
    assert main(["serve"]) == 2
    told = capsys.readouterr().err
    assert "appliance install" in told
    assert "appliance demo" in told


def test_the_log_has_the_last_words_of_the_server(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_serve(monkeypatch)
    assert main(["serve", "--config", str(config)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["exchange", "stopped"]
    assert lines[0]["request_id"] == "r1"


@pytest.mark.parametrize(("end", "code"), [(KeyboardInterrupt(), 130), (OperatorError("the port is taken"), 2)])
def test_however_the_server_ends_it_is_told_in_one_line_and_a_code(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], end: BaseException, code: int
) -> None:
    fake_serve(monkeypatch, end)
    assert main(["serve", "--config", str(config)]) == code
    err = capsys.readouterr().err
    assert "stopped" in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_keys_from_the_environment_work_and_appear_nowhere(tmp_path: Path) -> None:
    canary = "sk-env-canary-552"
    with product(tmp_path, runtime("m"), environment={"API_KEYS": f"{canary}, other-key-1"}) as running:
        assert isinstance(running, Product)
        running.ready("m")
        reply = httpx.get(f"{running.url}/v1/models", headers={"authorization": f"Bearer {canary}"})
        assert reply.status_code == 200
        environs = [Path(f"/proc/{pid}/environ").read_text() for pid in running.engines()]
        assert environs
        for sink in [running.log.read_text(), running.metrics(), *environs]:
            assert canary not in sink


class Unread(Product):
    """A product whose log goes into a pipe that nobody reads."""

    def start(self, *, wait: float = 60) -> None:
        self.told = False
        self.reading, writing = os.pipe()
        argv = [sys.executable, "-m", "appliance", "serve", "--config", str(self.config)]
        self.log.touch()
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=writing, env=self.environment)
        os.close(writing)
        self.until(lambda: httpx.get(f"{self.url}/healthz").status_code == 200, wait)


@pytest.mark.slow
def test_a_log_that_nobody_reads_stops_neither_the_server_nor_its_end(tmp_path: Path) -> None:
    running = Unread(tmp_path, runtime("m"))
    running.start()
    try:
        with httpx.Client(headers=running.headers, timeout=30) as client:
            for number in range(300):  # a pipe holds 64 KiB, a line has 400 bytes
                body = {"model": f"none{number}", "messages": [{"role": "user", "content": "hi"}]}
                assert client.post(f"{running.url}/v1/chat/completions", json=body).status_code == 404
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(30) == 0
    finally:
        running.process.kill()
        os.close(running.reading)


@pytest.mark.slow
def test_the_log_of_a_real_server_ends_with_its_end(tmp_path: Path) -> None:
    with product(tmp_path, runtime("m")) as running:
        running.post("/v1/chat/completions", {"model": "none", "messages": [{"role": "user", "content": "hi"}]})
    lines = [json.loads(line) for line in running.log.read_text().splitlines()]
    assert lines[-1]["event"] == "stopped"
    (exchange,) = [line for line in lines if line["event"] == "exchange"]
    assert (exchange["status"], exchange["error_code"], exchange["key"]) == (404, "model_not_found", "tester")
