"""What the machine does to us: a port that is taken, a full disk, a pid that is used again, nobody who reads a log."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from tests.e2e.test_faults import ask, starts
from tests.fakes.product import Product, product, runtime

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
        assert "m of an earlier run is not taken over" in box.log.read_text()
        assert innocent.pid not in box.engines()
        assert ask(box).status_code == 200
        assert box.stop() == 0
        assert innocent.poll() is None
        assert box.engines() == []
    finally:
        innocent.kill()
        innocent.wait()
        box.terminate()
