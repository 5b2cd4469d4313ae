"""The operator's socket of a running product."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fakes.product import Product, free_port, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def on_socket(box: Product, method: str, path: str) -> httpx.Response:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(box.state / "s" / "ops.sock")), timeout=60) as client:
        return client.request(method, f"http://appliance{path}")


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with product(tmp_path_factory.mktemp("box"), runtime("m")) as running:
        running.ready("m")
        yield running


def test_orders_need_no_key_there_and_one_everywhere_else(box: Product) -> None:
    assert stat.S_IMODE((box.state / "s" / "ops.sock").lstat().st_mode) == 0o600
    reply = on_socket(box, "GET", "/ops/v1/state")
    assert [row["replica"] for row in reply.json()["replicas"]] == ["m"]
    assert on_socket(box, "POST", "/ops/v1/load/m").json()["state"] == "ready"
    assert "appliance_build_info" in on_socket(box, "GET", "/metrics").text
    assert box.get("/ops/v1/state").status_code == 401
    assert httpx.post(f"{box.url}/ops/v1/load/m", headers={"host": "appliance"}).status_code == 401


@pytest.mark.parametrize("path", ["/v1/models", "/healthz", "/", "/docs"])
def test_nothing_else_is_served_there(box: Product, path: str) -> None:
    reply = on_socket(box, "GET", path)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "unknown_url")


def test_bytes_that_are_no_request_and_other_protocols_are_refused(box: Product) -> None:
    handshake = (
        b"GET /ops/v1/state HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    for sent, status in ((b"\x00\x01\r\n\r\n", b"400"), (handshake, b"400")):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(box.state / "s" / "ops.sock"))
            client.sendall(sent)
            assert client.recv(65536).split()[1] == status
    assert on_socket(box, "GET", "/ops/v1/state").status_code == 200


def test_it_goes_with_the_server_and_what_a_killed_one_left_is_replaced(tmp_path: Path) -> None:
    box = Product(tmp_path, "")
    path = box.state / "s" / "ops.sock"
    box.start()
    box.process.kill()
    box.process.wait()
    assert path.exists()
    box.start()
    box.until(lambda: on_socket(box, "GET", "/ops/v1/state").status_code == 200, 20)
    assert box.stop() == 0
    assert not path.exists()


def test_a_second_server_leaves_the_firsts_socket_alone(box: Product) -> None:
    second = box.state / "second.toml"
    second.write_text(box.config.read_text().replace(str(box.port), str(free_port())))
    argv = [sys.executable, "-m", "appliance", "serve", "--config", str(second)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "another appliance" in done.stderr) == (2, True)
    assert on_socket(box, "GET", "/ops/v1/state").status_code == 200


def test_a_server_without_its_socket_says_so_and_serves(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir(mode=0o700)
    (tmp_path / "s" / "ops.sock").mkdir()
    with product(tmp_path, runtime("m")) as box:
        box.ready("m")
        box.said("no socket is there")


def test_orders_are_taken_while_streams_drain_and_a_follower_does_not_hold_the_end_up(tmp_path: Path) -> None:
    with product(tmp_path, runtime("m", "--token-delay", "0.1"), "drain = '20s'") as box:
        box.ready("m")
        path = str(box.state / "s" / "ops.sock")
        with (
            httpx.Client(transport=httpx.HTTPTransport(uds=path), timeout=60) as client,
            client.stream("GET", "http://appliance/ops/v1/logs/m?follow=1&last=0") as following,
        ):
            assert next(following.iter_lines()) == ": the output of m"
            body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
            with httpx.stream(
                "POST", f"{box.url}/v1/chat/completions", json=body, headers=box.headers, timeout=60
            ) as stream:
                lines = stream.iter_lines()
                next(lines)
                began = time.monotonic()
                os.kill(box.process.pid, signal.SIGTERM)
                box.told = True
                box.said("stopping: streams may finish")
                rows = on_socket(box, "GET", "/ops/v1/state").json()["replicas"]
                assert rows[0]["state"] == "draining"
                assert "data: [DONE]" in list(lines)
            assert box.process.wait(30) == 0
        assert time.monotonic() - began < 15, "the follower was not waited for"
