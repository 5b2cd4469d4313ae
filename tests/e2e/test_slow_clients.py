"""Clients that are slow, stall, leave half, come in crowds or outstay the server: each costs a bounded time and memory."""

import contextlib
import json
import os
import re
import signal
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.product import KEY, Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

STALL = 1.0
LIMITS = (
    f"head_timeout = '1s'\nbody_timeout = '1s'\nidle_timeout = '2s'\nwrite_stall = '{STALL:g}s'\ndrain = '1s'\n"
    "max_body = '64KiB'\n"
)
FEW_FILES = ("sh", "-c", 'ulimit -n 256; exec "$@"', "sh")
READERS = 50
MIB = 2**20


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    tables = "\n".join(
        [
            runtime("long", "--tokens", "20000"),
            runtime("slow", "--tokens", "1000", "--token-delay", "0.05"),
            runtime("mute", "--first-byte-delay", "60"),
        ]
    )
    with product(tmp_path_factory.mktemp("box"), tables, LIMITS) as running:
        running.ready("long", "slow", "mute")
        yield running


def chat(model: str, *, key: str = KEY, stream: bool = True) -> bytes:
    body = json.dumps({"model": model, "stream": stream, "messages": [{"role": "user", "content": "hi"}]}).encode()
    return post(f"Content-Length: {len(body)}", key=key) + body


def post(*lines: str, key: str = KEY) -> bytes:
    start = ["POST /v1/chat/completions HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", *lines]
    return "\r\n".join([*start, "", ""]).encode()


def connect(box: Product, source: str = "", receive_buffer: int = 0) -> socket.socket:
    sock = socket.socket()
    sock.settimeout(20)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)  # before: the first window counts
    if source:
        sock.bind((source, 0))
    sock.connect(("127.0.0.1", box.port))
    return sock


def everything(sock: socket.socket) -> bytes:
    """All bytes until the server closes; a reset is an error."""
    got = b""
    while piece := sock.recv(65536):
        got += piece
    return got


def status(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer[:100]
    return int(answer[9:12])


def drip(sock: socket.socket, data: bytes, every: float) -> None:
    """A byte at a time, until the server has had enough."""
    sock.settimeout(every)
    for at in range(len(data)):
        try:
            sock.sendall(data[at : at + 1])
            if sock.recv(1, socket.MSG_PEEK):
                break
        except TimeoutError:
            continue
    sock.settimeout(20)


def metric(box: Product, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", box.metrics(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def state(box: Product, name: str) -> dict[str, Any]:
    """What the scripted engine says of itself."""
    directory = str(box.state / "s")
    words = Path("/proc/net/unix").read_text().split()
    path = next(word for word in words if word.startswith(directory) and word.endswith(".sock") and f"/{name}" in word)
    with httpx.Client(transport=httpx.HTTPTransport(uds=path)) as engine:
        answer: dict[str, Any] = engine.get("http://x/_state").json()
        return answer


def seconds_until(condition: Callable[[], bool], within: float) -> float:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < within
        time.sleep(0.005)
    return time.monotonic() - started


def tell(what: str, figures: list[float]) -> None:
    print(f"{what}: median {statistics.median(figures):.3f} s, worst {max(figures):.3f} s")


def resident(pid: int) -> float:
    """MiB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def idle(box: Product, model: str) -> bool:
    """No request, and no connection but the one that asks."""
    text = box.metrics()
    in_flight = f'appliance_requests_in_flight{{model="{model}"}}'
    return f"{in_flight} 0.0\n" in text and "\nappliance_client_connections 1.0\n" in text


def exchanges(box: Product, model: str) -> list[dict[str, Any]]:
    """The access log."""
    lines = [json.loads(line) for line in box.written().splitlines()]
    return [line for line in lines if line["event"] == "exchange" and line["model"] == model]


def test_a_head_that_drips_is_a_408_and_the_end(box: Product) -> None:
    started = time.monotonic()
    with connect(box) as sock:
        drip(sock, b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200, 0.05)
        assert status(everything(sock)) == 408
    assert time.monotonic() - started < 10


def test_a_body_that_drips_is_a_408_and_the_end(box: Product) -> None:
    started = time.monotonic()
    with connect(box) as sock:
        sock.sendall(post("Content-Length: 1000"))
        drip(sock, b" " * 1000, 0.05)
        assert status(everything(sock)) == 408
    assert time.monotonic() - started < 20


def test_an_idle_connection_ends_without_a_word(box: Product) -> None:
    with connect(box) as sock:
        assert everything(sock) == b""


def test_readers_that_read_nothing_are_cut_and_cost_little_memory(box: Product) -> None:
    """A tiny window that is never opened, with every buffer on the way full."""
    stalls = metric(box, "appliance_client_stalls_total")
    before = resident(box.process.pid)
    readers = [connect(box, receive_buffer=2048) for _ in range(READERS)]
    for reader in readers:
        reader.sendall(chat("long"))
    most = before
    started = time.monotonic()
    while metric(box, "appliance_client_stalls_total") < stalls + READERS:
        assert time.monotonic() - started < 40
        most = max(most, resident(box.process.pid))
        time.sleep(0.1)
    box.until(lambda: idle(box, "long"), 20)
    box.until(lambda: state(box, "long")["running"] == 0, 10)
    for reader in readers:
        with reader, pytest.raises(ConnectionResetError):
            everything(reader)
    sent = [line["bytes_out"] for line in exchanges(box, "long")]
    assert len(sent) >= READERS
    assert max(sent) < MIB, "what the kernel holds for each"
    print(f"{READERS} stalled readers: {most - before:.1f} MiB, all cut after {time.monotonic() - started:.2f} s")
    assert most - before < 100


def test_a_reader_that_stops_is_cut_after_the_stall_limit_and_the_engine_is_free(box: Product) -> None:
    figures = []
    for _ in range(3):
        with connect(box, receive_buffer=2048) as reader:
            reader.sendall(chat("long"))
            assert reader.recv(100)
            seconds_until(lambda: state(box, "long")["running"] == 1, 10)
            figures.append(seconds_until(lambda: state(box, "long")["running"] == 0, 5 * STALL + 10))
    tell("a reader that stops, until its engine is free", figures)


def test_a_reader_that_is_only_slow_gets_everything(box: Product) -> None:
    with connect(box, receive_buffer=2048) as reader:
        reader.sendall(chat("slow"))
        got = b""
        for _ in range(8):
            time.sleep(STALL / 2)
            got += reader.recv(200)
        assert len(got) > 1000
        assert state(box, "slow")["running"] == 1


@pytest.mark.parametrize("model", ["mute", "slow"], ids=["before the answer", "during the answer"])
def test_half_a_close_is_a_client_that_left(box: Product, model: str) -> None:
    figures = []
    for _ in range(5):
        cancelled = state(box, model)["cancelled"]
        with connect(box) as sock:
            sock.sendall(chat(model))
            seconds_until(lambda: state(box, model)["running"] == 1, 10)
            if model == "slow":
                assert sock.recv(100)
            sock.shutdown(socket.SHUT_WR)
            figures.append(seconds_until(lambda was=cancelled: state(box, model)["cancelled"] > was, 5))  # type: ignore[misc]
            with contextlib.suppress(ConnectionResetError):
                assert b"[DONE]" not in everything(sock)
    tell(f"half a close until the engine ({model}) knows", figures)
    box.until(lambda: idle(box, model), 10)


def test_an_early_401_can_be_read_in_the_middle_of_a_large_upload(box: Product) -> None:
    with connect(box) as sock:
        sock.sendall(post(f"Content-Length: {10 * MIB}", key="sk-wrong"))
        sock.sendall(b"x" * (10 * MIB))
        assert status(everything(sock)) == 401


def test_a_body_that_says_it_is_too_large_is_a_413_that_can_be_read(box: Product) -> None:
    with connect(box) as sock:
        sock.sendall(post(f"Content-Length: {10 * MIB}"))
        sock.sendall(b"x" * (10 * MIB))
        assert status(everything(sock)) == 413


def test_a_chunked_body_that_becomes_too_large_is_a_413_that_can_be_read(box: Product) -> None:
    with connect(box) as sock:
        sock.sendall(post("Transfer-Encoding: chunked"))
        for _ in range(100):
            sock.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        assert status(everything(sock)) == 413


@pytest.mark.parametrize("server", ["", "max_connections = 1000"], ids=["no setting", "a setting beyond the limit"])
def test_a_flood_of_connections_leaves_the_files_that_an_engine_needs(tmp_path: Path, server: str) -> None:
    with product(tmp_path, runtime("m"), f"{LIMITS}{server}\n", prefix=FEW_FILES) as box:
        box.ready("m")
        (engine,) = box.engines()
        flood = [connect(box) for _ in range(400)]
        for sock in flood[::2]:
            with contextlib.suppress(OSError):
                sock.sendall(b"GET /v1/models HTTP/1.1\r\n")  # half of them wait for a head, and are not idle
        os.kill(engine, signal.SIGKILL)
        seconds_until(lambda: bool(set(box.engines()) - {engine}), 20)  # the reserved descriptors
        assert box.process.poll() is None
        for sock in flood:
            sock.close()
        box.until(lambda: box.get("/healthz").status_code == 200, 10)
        box.ready("m")
        assert box.post(
            "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "x"}]}
        ).is_success
        box.until(lambda: idle(box, "m"), 20)
        assert "Traceback" not in box.log.read_text()


def test_one_too_many_is_told_so_by_address_and_in_all(tmp_path: Path) -> None:
    # The busy ones must stay while the others are refused, however slow the machine is.
    server = f"{LIMITS}max_connections = 8\nconnections_per_address = 5\n".replace("head_timeout = '1s'", "")
    with product(tmp_path, runtime("m"), server) as box, contextlib.ExitStack() as opened:
        time.sleep(0.5)  # the connection that asked whether it is up has gone by then
        for source, most in (("127.0.0.1", 5), ("127.0.0.2", 3)):
            for _ in range(most):
                busy = opened.enter_context(connect(box, source))
                busy.sendall(b"GET /healthz HTTP/1.1\r\n")
            time.sleep(0.5)
            for _ in range(20):
                with connect(box, source if most == 5 else "127.0.0.3") as sock:
                    with contextlib.suppress(OSError):
                        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                    answer = sock.recv(65536)
                assert status(answer) == 503
                assert b"retry-after: 1\r\n" in answer
                assert b'"code":"too_many_connections"' in answer
        opened.close()
        box.until(lambda: metric(box, 'appliance_connections_refused_total{reason="address_limit"}') == 20, 10)
        assert metric(box, 'appliance_connections_refused_total{reason="limit"}') >= 20


def stalled(box: Product, count: int) -> list[socket.socket]:
    """Readers whose every buffer is full."""
    readers = [connect(box, receive_buffer=2048) for _ in range(count)]
    for reader in readers:
        reader.sendall(chat("long"))
        assert reader.recv(100)
    time.sleep(1)
    return readers


@pytest.mark.parametrize("hurry", [False, True], ids=["one TERM", "two TERMs"])
def test_readers_that_read_nothing_do_not_hold_up_the_end(tmp_path: Path, hurry: bool) -> None:
    drain = 60 if hurry else 1
    server = f"drain = '{drain}s'\nwrite_stall = '300s'\n"
    with product(tmp_path, runtime("long", "--tokens", "20000"), server) as box:
        box.ready("long")
        readers = stalled(box, 3)
        box.terminate()
        started = time.monotonic()
        if hurry:
            time.sleep(0.5)
            assert box.process.poll() is None
            box.process.send_signal(signal.SIGTERM)
            started = time.monotonic()
        assert box.process.wait(2 * (0 if hurry else drain) + 2 * 5) == 0
        print(
            f"stop with stalled readers: {time.monotonic() - started:.2f} s after {'the second' if hurry else 'a'} TERM"
        )
        for reader in readers:
            reader.close()


def test_idle_connections_end_at_once_when_the_server_goes_away(tmp_path: Path) -> None:
    with product(tmp_path, runtime("m"), "drain = '60s'\n") as box:
        sockets = [connect(box) for _ in range(100)]
        for sock in sockets[::2]:
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert status(sock.recv(65536)) == 200
        box.terminate()
        started = time.monotonic()
        for sock in sockets:
            with sock:
                assert everything(sock) == b""
        closed = time.monotonic() - started
        assert box.process.wait(20) == 0
        print(f"100 idle connections: closed after {closed:.3f} s, stopped after {time.monotonic() - started:.2f} s")
        assert closed < 10
