import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from appliance.api.quart_app import build_app
from appliance.domain.http import Reply, Request
from appliance.door.handover import Handover
from appliance.door.listener import Listener

GET = b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n"


class Endless:
    """A body that never ends; it knows when it was closed."""

    def __init__(self) -> None:
        self.broken = False
        self.closed = trio.Event()

    def __aiter__(self) -> "Endless":
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return b"x" * 65536

    async def aclose(self) -> None:
        self.closed.set()


@asynccontextmanager
async def door(body: Endless | None = None, *, write_stall: float = 30) -> AsyncIterator[int]:
    async def dispatch(request: Request) -> Reply:
        return Reply(200, [("content-type", "text/plain")], body or b"hello")

    app = build_app(dispatch, max_body=1000, body_timeout=5)
    handover = Handover(app, write_stall=write_stall)
    listener = await Listener.bind("127.0.0.1", 0, handover.connection)
    async with trio.open_nursery() as nursery:
        await nursery.start(handover.run_lifespan)
        nursery.start_soon(listener.run)
        yield listener.port
        nursery.cancel_scope.cancel()


async def ask(port: int, request: bytes) -> bytes:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(request)
        return await until_hello(stream)


async def until_hello(stream: trio.SocketStream) -> bytes:
    data = b""
    with trio.move_on_after(5):
        while b"hello" not in data and (piece := await stream.receive_some(65536)):
            data += piece
    return data


KILLERS = {
    "websocket upgrade and a trailing byte": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\nX",
    "h2 preface with a bad path": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    b"\x00\x00\x12\x01\x05\x00\x00\x00\x01\x82\x86\x04\x02/\xff\x41\x01x",
    "host that is not ASCII": b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n",
    "no path": b"GET ? HTTP/1.1\r\nHost: x\r\n\r\n",
    "noise": bytes(range(256)),
}


@pytest.mark.parametrize("packet", KILLERS.values(), ids=KILLERS.keys())
async def test_a_packet_that_would_end_the_process_ends_its_connection_only(packet: bytes) -> None:
    async with door() as port:
        for _ in range(3):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(packet)
                with trio.move_on_after(0.2):
                    await stream.receive_some(1000)
            assert b"hello" in await ask(port, GET)


async def test_a_reader_that_stops_reading_is_cut_and_its_stream_closed() -> None:
    body = Endless()
    async with door(body, write_stall=0.3) as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await stream.send_all(GET)
        with trio.fail_after(10):
            await body.closed.wait()


async def test_a_reader_that_stops_reading_does_not_hold_up_the_end() -> None:
    body = Endless()

    async def dispatch(request: Request) -> Reply:
        return Reply(200, [], body)

    handover = Handover(build_app(dispatch, max_body=1000, body_timeout=5), write_stall=60)
    listener = await Listener.bind("127.0.0.1", 0, handover.connection)
    async with trio.open_nursery() as nursery:
        await nursery.start(handover.run_lifespan)
        nursery.start_soon(listener.run)
        async with await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await stream.send_all(GET)
            await trio.sleep(0.3)  # until every buffer on the way is full
            with trio.fail_after(10):
                handover.abort()
                await body.closed.wait()
                while listener.connections:
                    await trio.sleep(0.01)
        nursery.cancel_scope.cancel()


async def test_a_websocket_handshake_is_refused_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    handshake = KILLERS["websocket upgrade and a trailing byte"][:-1]
    async with door() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(handshake)
        with trio.fail_after(5):
            assert (await stream.receive_some(1000)).startswith(b"HTTP/1.1 4")
    assert "Traceback" not in caplog.text


async def test_a_client_that_leaves_closes_the_stream() -> None:
    body = Endless()
    async with door(body) as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(GET)
        await stream.receive_some(10)
        await stream.aclose()
        with trio.fail_after(5):
            await body.closed.wait()


async def test_an_idle_connection_closes_when_the_server_goes_away() -> None:
    async def dispatch(request: Request) -> Reply:
        return Reply(200, [], b"hello")

    handover = Handover(build_app(dispatch, max_body=1000, body_timeout=5), write_stall=5)
    listener = await Listener.bind("127.0.0.1", 0, handover.connection)
    async with trio.open_nursery() as nursery:
        await nursery.start(handover.run_lifespan)
        nursery.start_soon(listener.run)
        async with await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
            await stream.send_all(GET)
            assert b"hello" in await until_hello(stream)
            await handover.close_idle()
            with trio.fail_after(5):
                assert await stream.receive_some(1000) == b""
        nursery.cancel_scope.cancel()
