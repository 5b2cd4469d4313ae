"""Usage and quotas when the server is killed in heavy traffic, and when the disk fails under it."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from tests.fakes.product import KEY, Product, product, runtime
from tests.fakes.program import PROGRAM

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
QUOTA = 100_000_000
BODY = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 20}


def limit(box: Product) -> None:
    text = box.config.read_text()
    box.config.write_text(text.replace('"tester"', f'"tester"\nlimits = {{ tokens_per_month = {QUOTA} }}', 1))


def left(box: Product) -> int:
    """What the month still has, as a refusal says."""
    error = box.post("/v1/chat/completions", BODY | {"max_tokens": 10**12}).json()["error"]
    assert error["code"] == "insufficient_quota"
    return int(error["message"].split("has ")[1].split(" ")[0])


def test_a_kill_in_heavy_traffic_counts_nothing_twice_and_loses_a_second_at_most(tmp_path: Path) -> None:
    with product(tmp_path, runtime("m", "--tokens", "5")) as box:
        box.ready("m")
        box.stop()
        limit(box)
        box.start()
        box.ready("m")
        answered: list[tuple[float, str]] = []
        sent = threading.Semaphore(0)

        def hammer() -> None:
            with suppress(httpx.HTTPError), httpx.Client(headers=box.headers, timeout=30) as client:
                while True:
                    sent.release()
                    reply = client.post(f"{box.url}/v1/chat/completions", json=BODY)
                    answered.append((time.monotonic(), reply.headers["x-request-id"]))

        clients = [threading.Thread(target=hammer) for _ in range(16)]
        for client in clients:
            client.start()
        time.sleep(6.5)
        os.kill(box.process.pid, signal.SIGKILL)
        killed = time.monotonic()
        box.process.wait(10)
        for client in clients:
            client.join(40)

        box.start()
        box.ready("m")
        with closing(sqlite3.connect(box.state / "s" / "usage.db")) as file:
            assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            ids = [row[0] for row in file.execute("SELECT request_id FROM exchanges")]
            rows = file.execute("SELECT count(*), sum(input + output) FROM exchanges").fetchone()
            days = file.execute("SELECT sum(requests), sum(input + output) FROM days").fetchone()
        assert rows == days
        assert len(ids) == len(set(ids))
        assert {one for at, one in answered if at < killed - 5} <= set(ids), "five times a second"
        assert len(answered) > 50
        assert left(box) == QUOTA - days[1]
        assert box.post("/v1/chat/completions", BODY).status_code == 200


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own, for the state directory."""
    place = tmp_path / "b" / "s"
    place.mkdir(parents=True)
    words = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "none", str(place)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True, check=False).returncode != 0:
        pytest.skip("may not mount a file system here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def metric(box: Product, name: str) -> float:
    return next(float(line.split()[1]) for line in box.metrics().splitlines() if line.startswith(f"{name} "))


def serves(box: Product) -> None:
    reply = box.post("/v1/chat/completions", BODY)
    assert (reply.status_code, reply.json()["usage"]["completion_tokens"]) == (200, 5)


def recorded(box: Product) -> int:
    command = [*PROGRAM, "usage", "--state-dir", str(box.state / "s"), "--json", "--by", ""]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(json.loads(done.stdout)["usage"][0]["requests"])


def test_a_full_disk_stops_nothing_and_is_told(disk: Path, tmp_path: Path) -> None:
    with product(tmp_path / "b", runtime("m", "--tokens", "5")) as box:
        box.ready("m")
        serves(box)
        box.until(lambda: metric(box, 'appliance_recording_rows_waiting{file="usage"}') == 0, 20)

        with suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(b"x" * 4096)
        serves(box)
        box.until(lambda: metric(box, 'appliance_recording_up{file="usage"}') == 0, 30)
        serves(box)
        box.said("usage is not being recorded")
        command = [*PROGRAM, "status", "--state-dir", str(disk)]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert "Usage is not being recorded" in told
        (disk / "filler").unlink()
        box.until(lambda: metric(box, 'appliance_recording_up{file="usage"}') == 1, 60)
        assert recorded(box) == 3

        assert KEY not in box.log.read_text()
