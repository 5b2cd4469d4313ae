"""`appliance logs` as its user runs it: in a terminal, in a pipe, with Ctrl-C, through restarts."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from appliance.cli.main import main
from tests.fakes.product import Product, product, runtime
from tests.ops.test_orders import ADMIN, ADMIN_TABLE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("box")
    talker = folder / "talker.sh"
    engine = f'{sys.executable} -m appliance _engine --socket "$1"'
    talker.write_text(
        f'#!/bin/sh\n( i=0; while :; do i=$((i+1)); echo "$$ line-$i"; sleep 0.05; done ) &\nexec {engine}\n'
    )
    talker.chmod(0o755)
    table = f'[[runtimes]]\nname = "m"\nengine = "command"\ncommand = ["{talker}", "{{socket}}"]\n'
    pair = runtime("pair", "--log-flood", extra="replicas = 2")
    with product(folder, ADMIN_TABLE + table + pair) as running:
        running.ready("m", "pair")
        yield running


def logs(box: Product, *words: str, **options: object) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-m", "appliance", "logs", *words]
    if "--url" not in words:
        argv += ["--config", str(box.config)]
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True, env=box.environment, **options)  # type: ignore[call-overload,no-any-return]


def until(process: "subprocess.Popen[str]", text: str) -> list[str]:
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"{text!r} did not come; {process.stderr and process.stderr.read()}")


def interrupted(process: "subprocess.Popen[str]") -> str:
    """Ctrl-C; what was written to standard error."""
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    return errors


def test_the_last_lines_once(box: Product) -> None:
    box.until(lambda: "line-3" in logs(box, "m").communicate()[0], 20)
    out, errors = logs(box, "m", "--last", "2").communicate(timeout=20)
    assert (len(out.splitlines()), errors) == (2, "")
    assert len(json.loads(logs(box, "m", "--json").communicate(timeout=20)[0])["lines"]) > 2


def test_following_goes_through_a_restart_and_ends_with_ctrl_c(box: Product) -> None:
    following = logs(box, "-f", "m", "--last", "1")
    first = until(following, "line-")[-1].split()[0]
    restart = subprocess.run(
        [sys.executable, "-m", "appliance", "restart", "m", "--config", str(box.config)],
        capture_output=True, text=True, check=False, env=box.environment, timeout=60,
    )  # fmt: skip
    assert restart.stdout == "m is ready\n"
    lines = until(following, " line-1\n")
    assert lines[-1].split()[0] != first
    assert "m: another process has begun" in interrupted(following)


def test_it_goes_through_a_rotation_of_the_file(box: Product) -> None:
    following = logs(box, "-f", "m", "--last", "0")
    until(following, "line-")
    log = box.state / "s" / "logs" / "m.log"
    with log.open("ab") as file:
        file.write(b"padding\n" * (11 * 2**20 // 8))  # past the limit at which it is rotated
    box.until(lambda: log.with_name("m.log.1").exists() and log.stat().st_size < 2**20, 30)
    with log.open("a") as file:
        file.write("after the rotation\n")
    until(following, "after the rotation")
    interrupted(following)


def test_two_replicas_are_told_apart_and_a_flood_is_cut_and_counted(box: Product) -> None:
    following = logs(box, "-f", "pair")
    seen: set[str] = set()
    end = time.monotonic() + 30
    assert following.stdout is not None
    for line in following.stdout:
        seen.add(line.partition(" | ")[0])
        if {"pair@1", "pair@2"} <= seen or time.monotonic() > end:
            break
    assert {"pair@1", "pair@2"} <= seen
    following.stdout.close()
    following.stdout = None
    _, errors = following.communicate(timeout=40)
    assert following.returncode == 1, "who read it has gone"
    assert "lines are left out here" in errors


def test_a_reader_that_stops_reading_stalls_nobody(box: Product) -> None:
    stopped = logs(box, "-f", "pair")
    until(stopped, "slot")
    os.kill(stopped.pid, signal.SIGSTOP)
    try:
        size = (box.state / "s" / "logs" / "pair@1.log").stat
        before, changed = size().st_size, False
        for _ in range(40):
            time.sleep(0.1)
            changed = changed or size().st_size != before
        assert changed, "the engine goes on writing"
        body = {"model": "pair", "messages": [{"role": "user", "content": "hi"}]}
        assert box.post("/v1/chat/completions", body).status_code == 200
        memory = int(Path(f"/proc/{box.process.pid}/statm").read_text().split()[1]) * 4096
        assert memory < 300 * 2**20
    finally:
        os.kill(stopped.pid, signal.SIGCONT)
    interrupted(stopped)


def test_over_the_network_it_needs_a_key_and_json_is_an_object_a_line(box: Product, tmp_path: Path) -> None:
    refused = logs(box, "-f", "m", "--url", box.url)
    out, errors = refused.communicate(timeout=20)
    assert (refused.returncode, out) == (2, "")
    assert "--key-file" in errors
    key = tmp_path / "key"
    key.write_text(ADMIN)
    following = logs(box, "-f", "m", "--json", "--url", box.url, "--key-file", str(key))
    piece = json.loads(until(following, "line-")[-1])
    assert (piece["replica"], piece["missed"]) == ("m", 0)
    interrupted(following)


def test_who_is_not_there_is_said(box: Product) -> None:
    nobody = logs(box, "-f", "nobody")
    _, errors = nobody.communicate(timeout=20)
    assert (nobody.returncode, "no replica called 'nobody'" in errors) == (2, True)


@pytest.mark.parametrize("flags", [(), ("-f",)])
def test_without_a_server_it_says_where_the_files_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...]
) -> None:
    assert main(["logs", "m", *flags, "--state-dir", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "no appliance runs" in told
    assert f"is kept in {tmp_path / 'logs'}" in told


def test_the_end_of_the_server_and_of_the_model_are_told(tmp_path: Path) -> None:
    with product(tmp_path, runtime("m") + runtime("n")) as own:
        own.ready("m", "n")
        model, server = logs(own, "-f", "m"), logs(own, "-f", "n")
        for process in (model, server):
            assert process.stdout is not None
        own.until(lambda: len(sockets(own)) >= 2, 30)
        own.config.write_text(own.config.read_text().replace(runtime("m"), ""))
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(own.state / "s" / "ops.sock")), timeout=60) as client:
            assert client.post("http://appliance/ops/v1/reload").json()["ok"]
        _, errors = model.communicate(timeout=40)
        assert (model.returncode, "no runtime and no replica called 'm'" in errors) == (0, True)
        assert own.stop() == 0
        _, errors = server.communicate(timeout=20)
        assert server.returncode == 1
        assert "Traceback" not in errors


def sockets(box: Product) -> list[str]:
    """Connections to the operator's socket that are open."""
    path = str(box.state / "s" / "ops.sock")
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines() if line.endswith(path)]
    return [row[6] for row in rows if row[5] == "03"]
