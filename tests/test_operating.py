"""What is followed, over both doors and both carriers, from a running product."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from trio_websocket import wrap_client_stream

from tests.fakes.product import KEY, Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
ADMIN = "sk-admin-canary-5e6f"
TABLES = f'[[keys]]\nname = "root"\nhash = "sha256:{hashlib.sha256(ADMIN.encode()).hexdigest()}"\nscopes = ["admin"]\n'
BEARER = [(b"authorization", f"Bearer {ADMIN}".encode())]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with product(tmp_path_factory.mktemp("box"), TABLES + runtime("m")) as running:
        running.ready("m")
        yield running


def test_the_snapshot_as_events(box: Product) -> None:
    headers = {"authorization": f"Bearer {ADMIN}"}
    with httpx.stream("GET", f"{box.url}/ops/v1/live", headers=headers, timeout=30) as reply:
        assert reply.headers["content-type"] == "text/event-stream"
        data = (line.removeprefix("data: ") for line in reply.iter_lines() if line.startswith("data: "))
        first, second = json.loads(next(data)), json.loads(next(data))
    assert first["time"] < second["time"]
    assert [row["name"] for row in first["models"]] == ["m"]
    assert first["replicas"][0]["state"] == "ready"


async def test_the_snapshot_over_a_websocket_for_those_with_a_key_in_its_places(box: Product) -> None:
    by_header: dict[str, Any] = {"extra_headers": BEARER}
    by_protocol: dict[str, Any] = {"subprotocols": ["appliance", f"appliance-key.{ADMIN}"]}
    for way in (by_header, by_protocol):
        with trio.fail_after(60):
            async with await trio.open_tcp_stream("127.0.0.1", box.port) as stream, trio.open_nursery() as nursery:
                socket = await wrap_client_stream(nursery, stream, f"127.0.0.1:{box.port}", "/ops/v1/live", **way)
                assert socket.subprotocol == ("appliance" if way is by_protocol else None)
                assert json.loads(await socket.get_message())["models"]
                nursery.cancel_scope.cancel()  # no goodbye: the library takes a ping within it for a mistake


@pytest.mark.parametrize(
    ("key", "path", "status"),
    [
        ("", "live", 401),
        ("", f"live?key={ADMIN}", 401),
        (KEY, "live", 403),
        (ADMIN, "state", 400),
        (ADMIN, "nothing", 404),
    ],
)
def test_a_handshake_that_is_refused_has_a_status(box: Product, key: str, path: str, status: int) -> None:
    headers = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    headers |= {"authorization": f"Bearer {key}"} if key else {}
    reply = httpx.get(f"{box.url}/ops/v1/{path}", headers=headers, timeout=30)
    assert reply.status_code == status
    assert reply.json()["error"]["message"]


async def test_the_snapshot_over_a_websocket_on_the_box(box: Product, tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with await trio.open_unix_socket(box.state / "s" / "ops.sock") as stream, trio.open_nursery() as nursery:
            socket = await wrap_client_stream(nursery, stream, "appliance", "/ops/v1/logs/m?last=1")
            assert json.loads(await socket.get_message())["replica"] == "m"
            nursery.cancel_scope.cancel()


def test_whoever_follows_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with product(tmp_path, TABLES + runtime("m"), 'drain = "50s"') as own:
        headers = {"authorization": f"Bearer {ADMIN}"}
        with httpx.stream("GET", f"{own.url}/ops/v1/live", headers=headers, timeout=30) as reply:
            lines = reply.iter_lines()
            next(line for line in lines if line.startswith("data: "))
            own.terminate()
            assert "event: end" in list(lines)
        own.stop(wait=40)
