"""`/healthz` says that the process is alive, whatever engines and disks do; `/readyz` says what each model does."""

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.fakes.product import Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with product(tmp_path_factory.mktemp("box"), runtime("m") + runtime("broken", "--fail", "architecture")) as running:
        running.ready("m")
        yield running


@contextmanager
def nobody_can_write(*files: Path) -> Iterator[None]:
    """Whoever writes to these waits, as for a disk that hangs."""
    connections = [sqlite3.connect(file, isolation_level=None) for file in files]
    for connection in connections:
        connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        for connection in connections:
            connection.execute("ROLLBACK")
            connection.close()


def alive(box: Product, times: int = 10) -> None:
    """It answers at once; the margin is for a busy machine."""
    for _ in range(times):
        began = time.monotonic()
        assert httpx.get(f"{box.url}/healthz", timeout=10).json() == {"status": "ok"}
        assert time.monotonic() - began < 5


def test_it_answers_beside_a_stopped_engine_and_disks_that_hang(box: Product) -> None:
    pid = box.row("m")["pid"]
    files = [box.state / "s" / name for name in ("usage.db", "events.db")]
    box.until(lambda: all(file.exists() for file in files), 20)
    waiting = threading.Thread(target=lambda: box.post("/v1/chat/completions", CHAT))
    os.kill(pid, signal.SIGSTOP)
    try:
        with nobody_can_write(*files):
            waiting.start()
            before = box.ops("GET", "/events").json()["last"]
            assert box.ops("POST", "/keys", {"name": "while-it-hangs"}).status_code == 200
            alive(box)
            told = box.ops("GET", f"/events?since={before}").json()["events"]
            assert "key.created" in [event["kind"] for event in told], "events are told before they are written"
    finally:
        os.kill(pid, signal.SIGCONT)
        waiting.join(60)
    alive(box, 1)

    def written() -> bool:
        with closing(sqlite3.connect(files[1])) as connection:
            found = connection.execute("SELECT count(*) FROM events WHERE subject = 'while-it-hangs'").fetchone()[0]
        return bool(found)

    box.until(written, 60)


def test_readyz_tells_each_model(box: Product) -> None:
    box.ready("m")
    box.until(lambda: box.get("/readyz").json()["models"]["broken"]["state"] == "quarantined", 60)
    reply = box.get("/readyz")
    assert reply.status_code == 503
    assert reply.json()["models"]["m"]["ready"] is True
    assert reply.json()["models"]["broken"]["ready"] is False
    alive(box, 1)


def test_a_box_is_ready_when_what_is_not_loaded_comes_with_a_request(tmp_path: Path) -> None:
    tables = runtime("boot", "--load-seconds", "1") + runtime("resting", extra="start = 'on-demand'")
    with product(tmp_path, tables) as own:
        before = own.get("/readyz")
        assert before.status_code == 503, "a model of the start is owed until it is there"
        assert before.json()["models"]["resting"]["available"] is True
        own.until(lambda: own.get("/readyz").status_code == 200, 60)
        report = own.get("/readyz").json()["models"]
        assert (report["boot"]["ready"], report["resting"]["ready"]) == (True, False)
        assert "appliance_ready 1.0" in own.metrics()
        assert own.ops("POST", "/unload/boot").status_code == 200
        assert own.get("/readyz").status_code == 200, "what an operator ended is owed to nobody"
        assert own.post("/v1/chat/completions", CHAT | {"model": "boot"}).status_code == 200
        os.kill(own.row("boot")["pid"], signal.SIGKILL)
        own.until(lambda: own.get("/readyz").status_code == 503, 30)
        own.until(lambda: own.get("/readyz").status_code == 200, 60)
