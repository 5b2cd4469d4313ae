"""`appliance upgrade NEW`: another process in the place of the running one, under streams and new requests.

NEW is a script that runs the program that is tried. Its self-test, which serves a whole appliance, is run for real once and
stands still in the other tests: what they are about comes after it.
"""

import contextlib
import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from appliance import __version__
from appliance.takeover.messages import PROTOCOL
from tests.e2e.test_service import Ear
from tests.fakes.product import KEY, Product, runtime
from tests.fakes.program import PROGRAM

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
REAL = f'exec {" ".join(PROGRAM)} "$@"'
PASSED = f'[ "$1" = selftest ] && exit 0\n{REAL}'
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}


class Box(Product):
    """A product whose process may be another one than the one that was started."""

    def server(self) -> int:
        """The pid of whoever holds the state directory."""
        return int((self.state / "s" / "lock").read_text().split()[0])

    def until(self, condition: Any, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(httpx.HTTPError):
                if condition():
                    return
            time.sleep(0.05)
        raise AssertionError(f"not within {seconds} s\n{self.log.read_text()[-4000:]}")

    def new(self, script: str = PASSED) -> Path:
        file = self.state / f"new-{len(list(self.state.glob('new-*')))}"
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        return file

    def upgrade(self, new: Path, *words: str) -> subprocess.CompletedProcess[str]:
        argv = [*PROGRAM, "upgrade", str(new), "--config", str(self.config), *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)

    def end(self) -> None:
        """Whoever is the server ends, and with it the models; nobody else is left."""
        pids = {self.server(), self.process.pid}
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        self.process.wait(60)
        end = time.monotonic() + 60
        while any(_alive(pid) for pid in pids) and time.monotonic() < end:
            time.sleep(0.05)
        left = [pid for pid in {*pids, *self.engines()} if _alive(pid)]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left, self.log.read_text()[-4000:]


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@contextlib.contextmanager
def box(state: Path, tables: str, environment: dict[str, str] | None = None) -> Iterator[Box]:
    running = Box(state, tables, environment=environment)
    running.start()
    try:
        yield running
    finally:
        running.end()


HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
PATH = "/v1/chat/completions"


def connection(running: Box) -> http.client.HTTPConnection:
    """The standard library's: a machine under load makes dozens of them in the time of one SDK's."""
    return http.client.HTTPConnection("127.0.0.1", running.port, timeout=120)


def stream(running: Box, model: str, tokens: int) -> tuple[int, bool, str]:
    """How many pieces of content came, whether the end was clean, and the type of an error event."""
    pieces, clean, error = 0, False, ""
    body = json.dumps({**CHAT, "model": model, "max_tokens": tokens, "stream": True})
    with contextlib.closing(connection(running)) as client:
        client.request("POST", PATH, body, HEADERS)
        reply = client.getresponse()
        assert reply.status == 200
        for line in reply:
            if line.strip() == b"data: [DONE]":
                clean = True
            elif line.startswith(b"data: "):
                event = json.loads(line.removeprefix(b"data: "))
                error = error or event.get("error", {}).get("type", "")
                pieces += bool(event.get("choices") and event["choices"][0]["delta"].get("content"))
    return pieces, clean, error


def ask(client: http.client.HTTPConnection) -> str:
    """The status, or what went wrong; a connection that the server has closed would be that."""
    try:
        client.request("POST", PATH, json.dumps(CHAT), HEADERS)
        reply = client.getresponse()
        reply.read()
    except (OSError, http.client.HTTPException) as error:
        return repr(error)
    return str(reply.status)


LIMITED = "sk-limited-canary-5e1f"
TABLES = (
    f'[[keys]]\nname = "limited"\nhash = "sha256:{hashlib.sha256(LIMITED.encode()).hexdigest()}"\n'
    "limits = { requests_per_minute = 1, tokens_per_day = 100000 }\n"
    + runtime("m")
    + runtime("slow", "--token-delay", "0.1", "--tokens", "100000")
    + runtime("later", extra='start = "on-demand"')
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with box(tmp_path_factory.mktemp("box"), TABLES) as running:
        running.ready("m", "slow")
        yield running


def replaced(running: Box, old: int) -> None:
    """The old process has ended, by itself and well."""
    end = time.monotonic() + 60
    while _alive(old) and time.monotonic() < end:
        time.sleep(0.05)
    assert not _alive(old), running.log.read_text()[-4000:]
    if old == running.process.pid:
        assert running.process.wait() == 0, running.log.read_text()[-4000:]


def counted(running: Box) -> int:
    """Exchanges in the usage file."""
    return sum(row["requests"] for row in running.ops("GET", "/usage?by=model").json()["usage"])


def under_load(
    running: Box, streams: int, tokens: int, workers: int
) -> tuple[list[tuple[int, bool, str]], list[str], bool]:
    """Upgrade while streams flow and others ask: what became of the streams, and of the requests, and whether any
    stream lasted longer than the upgrade.
    """
    old, before = running.server(), (running.pids("m"), running.pids("slow"))
    done: list[str] = []
    over = threading.Event()

    def ask_on(fresh: bool) -> None:
        client = connection(running)
        client.connect()
        client.auto_open = 0  # one that the server closes is not opened again without a word
        while not over.is_set():
            if fresh:
                client.close()
                client = connection(running)
            done.append(ask(client))
            time.sleep(0.1)
        client.close()

    with ThreadPoolExecutor(streams + workers) as pool:
        asking = [pool.submit(ask_on, bool(number % 2)) for number in range(workers)]
        flowing = [pool.submit(stream, running, "slow", tokens) for _ in range(streams)]
        try:
            running.until(lambda: running.row("slow")["busy"] == streams or any(one.done() for one in flowing), 60)
            told = running.upgrade(running.new())
            assert told.returncode == 0, (told, running.log.read_text()[-4000:])
            running.until(lambda: running.server() != old, 10)
            lasted = not all(one.done() for one in flowing)
            streamed = [one.result(120) for one in flowing]
            replaced(running, old)
            time.sleep(0.3)  # and some more requests, of which none may fail either
        finally:
            over.set()
        for one in asking:
            one.result(60)
    assert (running.pids("m"), running.pids("slow")) == before
    return streamed, done, lasted


def test_under_streams_and_new_requests_nothing_fails_and_nothing_is_lost(shared: Box) -> None:
    for tokens in (60, 240, 960):  # a busy machine takes its time, and then they have to last longer
        before = counted(shared)
        streamed, done, lasted = under_load(shared, 30, tokens, 6)
        assert streamed == [(tokens, True, "")] * 30
        assert set(done) == {"200"}
        assert counted(shared) == before + len(done) + 30
        if lasted:
            break
    assert lasted


def test_what_is_used_stays_used_and_a_signal_ends_what_is_left_with_an_event(shared: Box) -> None:
    headers = {"authorization": f"Bearer {LIMITED}"}
    post = partial(httpx.post, f"{shared.url}/v1/chat/completions", json=CHAT, headers=headers, timeout=60)
    assert [post().status_code for _ in range(2)] == [200, 429]
    began = time.monotonic()
    old = shared.server()
    with ThreadPoolExecutor(1) as pool:
        flowing = pool.submit(stream, shared, "slow", 1000)
        shared.until(lambda: shared.row("slow")["busy"] == 1, 60)
        told = shared.upgrade(shared.new(), "--json")
        assert json.loads(told.stdout) | {"pid": 0} == {"ok": True, "detail": "", "version": __version__, "pid": 0}
        refused = post()
        if time.monotonic() - began < 55:  # after a minute it may again
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        os.kill(old, signal.SIGTERM)
        pieces, clean, error = flowing.result(60)
    assert (clean, error) == (False, "overloaded")
    assert 0 < pieces < 1000
    replaced(shared, old)
    assert shared.ops("POST", "/reload?dry_run=1").json()["ok"]
    assert shared.post("/v1/chat/completions", {**CHAT, "model": "later"}).status_code == 200


FAKE = """
import os, socket, sys, time
from appliance.takeover.messages import Hello, Incoming, Ready, encode
if sys.argv[1] == "selftest": raise SystemExit(0)
talk, incoming, heard = socket.socket(fileno=0), Incoming(), []
def hear():
    while not heard: heard.extend(incoming.feed(talk.recv(65536)) or ([] if time.sleep(0.01) else []))
    return heard.pop(0)
talk.sendall(encode(Hello({protocol}, "9.9", os.getpid())))
if {steps} > 0: hear()
if {steps} > 1: talk.sendall(encode(Ready())); hear()
{end}
"""


def fake(running: Box, end: str, protocol: int = PROTOCOL, steps: int = 2) -> Path:
    """A NEW that goes so far, and then does something else."""
    script = running.state / f"fake-{len(list(running.state.glob('fake-*')))}.py"
    script.write_text(FAKE.format(end=end, protocol=protocol, steps=steps))
    return running.new(f'exec {sys.executable} {script} "$@"')


@pytest.mark.parametrize(
    ("new", "patience", "why"),
    [
        (lambda _: "echo it is broken >&2; exit 3", 60, "its self-test failed (exit code 3): it is broken"),
        (lambda _: "[ $1 = selftest ] && exit 0; sleep 1000", 2, "it said nothing within 2 s"),
        (lambda _: "[ $1 = selftest ] && exit 0; exit 7", 60, "it ended (exit code 7) before it said a word"),
        (lambda b: fake(b, "time.sleep(1000)", protocol=99, steps=0), 60, "version 9.9 cannot take over"),
        (lambda b: fake(b, "time.sleep(1000)", steps=1), 3, "within 3 s"),
        (lambda b: fake(b, "os.kill(os.getpid(), 9)", steps=1), 60, "killed by signal 9"),
        (lambda b: fake(b, "os.kill(os.getpid(), 9)"), 60, "before it served"),
        (lambda b: fake(b, "talk.sendall(b'GET / HTTP/1.1'); time.sleep(1000)"), 60, "cannot be understood"),
    ],
    ids=["self-test", "silent", "ends", "protocol", "hangs", "killed", "killed late", "garbage"],
)
def test_a_new_one_that_fails_is_refused_and_nothing_has_happened(
    shared: Box, new: Any, patience: int, why: str
) -> None:
    made = new(shared)
    made = shared.new(made) if isinstance(made, str) else made
    old, before = shared.server(), shared.pids("m")
    told = shared.upgrade(made, "--patience", str(patience))
    assert told.returncode == 1, told
    assert why in told.stdout
    assert "the old process stays the server" in told.stdout
    assert (shared.server(), shared.pids("m")) == (old, before)
    assert shared.post("/v1/chat/completions", CHAT).status_code == 200
    assert not [pid for pid in running_with(made) if _alive(pid)]


def running_with(file: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and os.fsencode(file) in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def test_orders_that_make_no_sense_are_refused(shared: Box) -> None:
    assert "there is no such file" in shared.upgrade(Path("/nowhere/appliance")).stdout
    text = shared.config.read_text()
    shared.config.write_text(text.replace('"--token-delay", "0.1"', '"--token-delay", "0.2"'))
    told = shared.upgrade(shared.new())
    shared.config.write_text(text)
    assert told.returncode == 1
    assert "not in effect yet (slow): run `appliance reload` first" in told.stdout
    assert shared.get("/ops/v1/upgrade").status_code in (401, 404)


def test_the_old_one_killed_in_the_middle_leaves_its_models_to_the_next_start(tmp_path: Path) -> None:
    running = Box(tmp_path, runtime("m"))
    running.start()
    running.ready("m")
    before = running.pids("m")
    begun, go = tmp_path / "begun", tmp_path / "go"
    waits = f"while [ ! -e {go} ]; do sleep 0.1; done"
    new = running.new(f'[ "$1" = selftest ] && exit 0\ntouch {begun}\n{waits}\n{REAL}')
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(running.upgrade, new)
        running.until(begun.exists, 60)
        running.process.kill()
        running.process.wait()
        go.touch()
        assert told.result(60).returncode == 2
    end = time.monotonic() + 60
    while "nothing is taken over" not in running.log.read_text() and time.monotonic() < end:
        time.sleep(0.05)
    assert "nothing is taken over from the running server: it has hung up" in running.log.read_text()
    running.start()
    running.ready("m")
    assert running.pids("m") == before
    running.end()


def test_a_stop_in_the_middle_is_a_stop(tmp_path: Path) -> None:
    with box(tmp_path, runtime("m")) as running:
        begun = tmp_path / "begun"
        new = running.new(f'[ "$1" = selftest ] && exit 0\ntouch {begun}\nsleep 1000')
        with ThreadPoolExecutor(1) as pool:
            told = pool.submit(running.upgrade, new)
            running.until(begun.exists, 60)
            assert running.stop(60) == 0
            assert told.result(60).returncode in (1, 2)
        assert running.engines() == []
        assert not [pid for pid in running_with(new) if _alive(pid)]


def test_the_service_manager_is_told_and_the_self_test_is_a_real_one(tmp_path: Path) -> None:
    ear = Ear(tmp_path / "notify")
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
    with contextlib.closing(ear.socket), box(tmp_path / "p", runtime("m"), environment=environment) as running:
        running.ready("m")
        old = running.server()
        with ThreadPoolExecutor(1) as pool:
            upgrade = pool.submit(running.upgrade, running.new(REAL))
            ear.listen(lambda heard: any(line.startswith("MAINPID=") for line in heard), 120)
            told = upgrade.result(60)
        assert told.returncode == 0, told
        running.until(lambda: running.server() != old, 30)
        pid = running.server()
        assert f"MAINPID={pid}" in ear.heard
        ear.listen(lambda heard: "READY=1" in heard[heard.index(f"MAINPID={pid}") :])
        replaced(running, old)
        assert "STOPPING=1" not in heard_after(ear, f"MAINPID={pid}")
        variables = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"WATCHDOG_PID" not in variables
        ear.heard.clear()
        ear.listen(lambda heard: "WATCHDOG=1" in heard)


def heard_after(ear: Ear, line: str) -> list[str]:
    return ear.heard[ear.heard.index(line) :]
