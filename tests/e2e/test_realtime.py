"""Realtime sessions through the product: OpenAI's own client, and a plain websocket, from a scripted engine."""

import base64
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from tests.fakes.product import KEY, Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
KINDS = '["realtime"]'


HANDSHAKE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    tables = "\n".join(
        [
            runtime("talk", "--realtime", kinds=KINDS),
            runtime("many", "--realtime", "--tokens", "20000", kinds=KINDS),
            runtime("closes", "--realtime", "--close-with", "4321", kinds=KINDS),
            runtime("dies", "--realtime", "--crash-after-tokens", "2", kinds=KINDS, extra='start = "on-demand"'),
            runtime("mute", kinds=KINDS),
            runtime("ill", "--status", "429", kinds=KINDS),
            runtime("chat"),
            '[[models]]\nname = "public"\ntargets = ["talk"]\nkind = "realtime"\n',
            '[[models]]\nname = "talk"\ntargets = ["talk"]\nkind = "realtime"\n',
        ]
    )
    with product(tmp_path_factory.mktemp("box"), tables, "write_stall = '5s'") as running:
        running.ready("talk", "many", "closes", "mute", "ill", "chat")
        yield running


@asynccontextmanager
async def session(box: Product, query: str, **options: Any) -> AsyncIterator[WebSocketConnection]:
    options.setdefault("extra_headers", [(b"authorization", f"Bearer {KEY}".encode())])
    url = f"{box.url.replace('http', 'ws')}/v1/realtime?{query}"
    with trio.fail_after(60):
        async with open_websocket_url(url, max_message_size=2**25, **options) as connection:
            try:
                yield connection
            finally:
                await connection.aclose()
                await trio.aclose_forcefully(connection._stream)


async def events(connection: WebSocketConnection, last: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while not found or found[-1]["type"] != last:
        found.append(json.loads(await connection.get_message()))
    return found


def test_openais_own_client_has_a_conversation(box: Product) -> None:
    client = openai.OpenAI(base_url=f"{box.url}/v1", api_key=KEY, max_retries=0)
    with client, client.realtime.connect(model="talk") as connection:
        assert connection.recv().type == "session.created"
        connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        assert connection.recv().type == "session.updated"
        item: Any = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello there"}]}
        connection.conversation.item.create(item=item)
        connection.response.create()
        said = ""
        for event in connection:
            if event.type == "response.output_text.delta":
                said += event.delta
            if event.type == "response.done":
                break
    assert len(said.split()) == 32

    def settled() -> bool:
        lines = [json.loads(line) for line in box.log.read_text().splitlines() if line.startswith("{")]
        found = [line for line in lines if line.get("operation") == "realtime" and line.get("tokens_input") == 2]
        return bool(found) and (found[0]["status"], found[0]["tokens_output"], found[0]["key"]) == (101, 32, "tester")

    box.until(settled, 5)


async def test_a_browser_brings_its_key_among_the_protocols_and_the_engine_never_sees_it(box: Product) -> None:
    protocols = ["realtime", f"openai-insecure-api-key.{KEY}", "openai-beta.realtime-v1"]
    async with session(box, "model=public&intent=x", extra_headers=[], subprotocols=protocols) as connection:
        (created,) = await events(connection, "session.created")
        assert connection.subprotocol == "realtime"
        assert created["session"]["model"] == "talk"
        update = {"type": "session.update", "model": "public", "session": {"model": "public", "voice": "é"}}
        await connection.send_message(json.dumps(update))
        (updated,) = await events(connection, "session.updated")
        assert updated["session"] == {"model": "talk", "voice": "é"}
        assert updated["model"] == "talk"
    assert KEY not in box.log.read_text()


async def test_bytes_and_large_messages_pass_both_ways(box: Product) -> None:
    async with session(box, "model=talk") as connection:
        await events(connection, "session.created")
        for size in (0, 1, 70_000, 3_000_000):
            await connection.send_message(b"x" * size)
            assert await connection.get_message() == b"x" * size
        sound = base64.b64encode(bytes(2_000_000)).decode()
        await connection.send_message(json.dumps({"type": "input_audio_buffer.append", "audio": sound}))
        await connection.send_message(json.dumps({"type": "input_audio_buffer.commit"}))
        (committed,) = (await events(connection, "input_audio_buffer.committed"))[-1:]
        assert committed["item_id"] == f"item_{len(sound)}"


async def test_what_the_server_pings_and_what_the_client_pings_is_answered(box: Product) -> None:
    async with session(box, "model=talk") as connection:
        await connection.ping(b"hello")


async def test_a_reader_that_pauses_gets_everything_in_order(box: Product) -> None:
    async with session(box, "model=many") as connection:
        await events(connection, "session.created")
        await connection.send_message('{"type":"response.create"}')
        await trio.sleep(1)
        found = await events(connection, "response.done")
    text = "".join(event["delta"] for event in found if event["type"] == "response.output_text.delta")
    assert text == next(event["text"] for event in found if event["type"] == "response.output_text.done")


def test_a_reader_that_stops_reading_is_cut_and_the_engine_is_free(box: Product) -> None:
    lines = [f"{name}: {value}\r\n" for name, value in (HANDSHAKE | {"host": "x", "x-api-key": KEY}).items()]
    event = b'{"type":"response.create"}'
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(20)
        client.connect(("127.0.0.1", box.port))
        client.sendall(f"GET /v1/realtime?model=many HTTP/1.1\r\n{''.join(lines)}\r\n".encode())
        assert client.recv(12) == b"HTTP/1.1 101"
        client.sendall(b"\x81" + bytes([0x80 | len(event)]) + bytes(4) + event)  # masked with nothing

        def stalled() -> bool:
            found = [line for line in box.log.read_text().splitlines() if '"model":"many"' in line]
            return bool(found) and '"bytes_out":0' not in found[-1]

        box.until(stalled, 25)


async def test_the_engines_close_code_and_reason_reach_the_client(box: Product) -> None:
    async with session(box, "model=closes") as connection:
        await events(connection, "session.created")
        await connection.send_message('{"type":"response.create"}')
        with pytest.raises(ConnectionClosed) as closed:
            await events(connection, "nothing comes of this type")
        assert closed.value.reason is not None
        assert (closed.value.reason.code, closed.value.reason.reason) == (4321, "the script says so")


async def test_an_engine_that_dies_is_an_error_event_and_a_close(box: Product) -> None:
    async with session(box, "model=dies") as connection:
        await events(connection, "session.created")
        await connection.send_message('{"type":"response.create"}')
        *_, error = await events(connection, "error")
        assert error["error"]["code"] == "backend_died"
        with pytest.raises(ConnectionClosed) as closed:
            await connection.get_message()
        assert closed.value.reason is not None
        assert closed.value.reason.code == 1011


@pytest.mark.parametrize(
    ("query", "key", "status", "code"),
    [
        ("model=talk", "", 401, "invalid_api_key"),
        ("model=talk", "wrong", 401, "invalid_api_key"),
        ("", KEY, 400, "missing_required_parameter"),
        ("model=nope", KEY, 404, "model_not_found"),
        ("model=chat", KEY, 422, "model_category_mismatch"),
        ("model=mute", KEY, 501, "unsupported"),
        ("model=ill", KEY, 429, 429),
    ],
)
def test_a_refusal_is_a_status_with_a_body(box: Product, query: str, key: str, status: int, code: object) -> None:
    with box.client() as http:
        headers = HANDSHAKE | ({"x-api-key": key} if key else {})
        reply = http.get(f"{box.url}/v1/realtime?{query}", headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert reply.headers["x-error-source"] == ("backend" if status == 429 else "gateway")
    assert reply.headers["x-request-id"].startswith("req_")


def test_plain_http_is_told_that_it_is_a_websocket(box: Product) -> None:
    with box.client() as http:
        reply = http.get(f"{box.url}/v1/realtime?model=talk", headers=box.headers)
    assert reply.status_code == 400
    assert "wss://" in reply.json()["error"]["message"]


async def test_a_client_that_leaves_frees_the_engine(box: Product) -> None:
    async with session(box, "model=many") as connection:
        await events(connection, "session.created")
        await connection.send_message('{"type":"response.create"}')
        await connection.get_message()
    began = time.monotonic()

    def idle() -> bool:
        return 'appliance_requests_in_flight{model="many"} 0.0' in box.metrics()

    await trio.to_thread.run_sync(box.until, idle, 10)
    assert time.monotonic() - began < 10
