"""What the machine does to us: a port that is taken, a full disk, a pid that is used again, nobody who reads a log."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.test_faults import ask, starts
from tests.fakes.product import Product, product, runtime
from tests.fakes.program import PROGRAM

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_an_engine_goes_on_while_nobody_reads_its_log(tmp_path: Path) -> None:
    with product(tmp_path, runtime("m", "--log-flood")) as box:
        box.ready("m")
        os.kill(box.process.pid, signal.SIGSTOP)  # nothing of ours reads anything now
        try:
            log = box.state / "s" / "logs" / "m.log"
            before = log.stat().st_size
            end = time.monotonic() + 30
            while log.stat().st_size < before + 2**20:  # many times what a pipe takes
                assert time.monotonic() < end
                time.sleep(0.05)
            words = Path(f"/proc/{box.pids('m')[0]}/cmdline").read_text().split("\0")
            transport = httpx.HTTPTransport(uds=words[words.index("--socket") + 1])
            with httpx.Client(transport=transport) as engine:
                assert engine.get("http://engine/health", timeout=20).status_code == 200
        finally:
            os.kill(box.process.pid, signal.SIGCONT)
        assert ask(box).status_code == 200
        assert starts(box) == 1
        assert len(box.ops("GET", "/logs/m?last=5").json()["lines"]) == 5


@pytest.mark.parametrize("same_start", [True, False], ids=["its very start time", "another one's record"])
def test_a_stale_record_with_the_pid_of_an_innocent_process_harms_nobody(tmp_path: Path, same_start: bool) -> None:
    box = Product(tmp_path, runtime("m"))
    box.start()
    innocent = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
    try:
        box.ready("m")
        box.process.kill()
        box.process.wait()
        for pid in box.engines():
            os.kill(pid, signal.SIGKILL)
        (file,) = (box.state / "s" / "run").glob("*.replica.json")
        record = json.loads(file.read_text())
        record["pid"] = innocent.pid
        if same_start:
            record["start"] = int(Path(f"/proc/{innocent.pid}/stat").read_text().rpartition(")")[2].split()[19])
        file.write_text(json.dumps(record))
        box.start()
        box.ready("m")
        assert innocent.poll() is None
        box.said("m of an earlier run is not taken over")
        assert innocent.pid not in box.engines()
        assert ask(box).status_code == 200
        assert box.stop() == 0
        assert innocent.poll() is None
        assert box.engines() == []
    finally:
        innocent.kill()
        innocent.wait()
        box.terminate()


class Squatter:
    """A process of somebody else, which this test is, on a port of loopback; it answers whatever it is asked."""

    def __init__(self, port: int) -> None:
        self.heard: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", port))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                with client:
                    self.heard.append(client.recv(65536))
                    client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.mark.parametrize("then", ["exec {engine}", "exec sleep 600"], ids=["its bind fails", "it never binds"])
def test_a_port_that_somebody_else_has_by_then_gets_no_prompt_and_the_next_start_another_one(
    tmp_path: Path, then: str
) -> None:
    engine = f'{" ".join(PROGRAM)} _engine --port "$1"'
    script = tmp_path / "engine.sh"
    script.write_text(
        f'#!/bin/sh\ncd "{Path.cwd()}"\n[ -e {tmp_path}/go ] && exec {engine}\necho $1 > {tmp_path}/port.new\n'
        f"mv {tmp_path}/port.new {tmp_path}/port\nwhile [ ! -e {tmp_path}/go ]; do sleep 0.05; done\n"
        f"{then.format(engine=engine)}\n"
    )
    script.chmod(0o755)
    tables = f'[[runtimes]]\nname = "m"\nengine = "command"\ncommand = ["{script}", "{{port}}"]\n'
    with product(tmp_path / "box", tables, "probe_interval = '200ms'") as box:
        box.until((tmp_path / "port").exists, 30)
        squatter = Squatter(int((tmp_path / "port").read_text()))
        try:
            (tmp_path / "go").touch()
            reply = ask(box)  # sent while somebody else has the port
            assert reply.status_code == 200
            assert starts(box) == 2
            assert squatter.heard == [], "not even a question after its health"
            assert 'reason="port_race"' in box.metrics()
            assert ask(box).status_code == 200
        finally:
            squatter.close()


def test_a_long_load_with_progress_is_waited_for_and_told(tmp_path: Path) -> None:
    flags = ("--style", "vllm", "--load-seconds", "8", "--progress")
    with product(tmp_path, runtime("m", *flags, extra="load_stall = '3s'"), "load_wait = '500ms'") as box:
        box.until(lambda: box.row("m")["percent"] is not None, 30)
        reply = ask(box)
        error = reply.json()["error"]
        assert (reply.status_code, error["code"]) == (503, "model_loading")
        assert float(error["percent"]) > 0
        assert error["stage"]
        box.ready("m")
        assert starts(box) == 1


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4M,mode=700", "none", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("may not mount a file system here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_stops_neither_answers_nor_a_restart_and_nothing_needs_mending_afterwards(
    tmp_path: Path, disk: Path
) -> None:
    box = Product(tmp_path / "box", runtime("m"), "probe_interval = '200ms'")
    box.config.write_text(box.config.read_text().replace(str(box.state / "s"), str(disk / "s")))
    (box.state / "s").symlink_to(disk / "s")
    box.start()
    try:
        box.ready("m")
        filler = disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        assert ask(box).status_code == 200
        os.kill(box.engines()[0], signal.SIGKILL)
        box.until(lambda: starts(box) == 2, 30)
        assert ask(box).status_code == 200
        assert box.row("m")["state"] == "ready"
        filler.unlink()
        (pid,) = box.engines()
        assert ask(box).status_code == 200
        assert box.engines() == [pid], "nothing had to be started again"
        box.until(lambda: box.ops("POST", "/restart/m").json()["ok"], 60)
        assert box.stop() == 0
        assert not list((disk / "s" / "run").glob("m*"))
    finally:
        box.terminate()
        box.process.wait(30)
