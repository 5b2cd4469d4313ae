import socket

import pytest
import trio

from appliance.domain.http import Reply, Request
from appliance.door.surroundings import Patience
from tests.fakes.doors import Endless, everything, served, until

GET = b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n"
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def test_only_what_the_application_does_not_serve_is_handed_over_with_the_bytes_read_already() -> None:
    seen: list[str] = []

    async def answer(request: Request) -> Reply:
        seen.append(type(request.body).__module__)
        return Reply(200, [], await request.body.read(100))

    async with served(answer, paths=("/v1",)) as server:
        for path in (b"/v1", b"/page"):
            packet = b"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc" % path
            for cut in (len(packet), len(packet) - 1, 10):
                async with await server.connect() as stream:
                    await stream.send_all(packet[:cut])
                    await trio.sleep(0.01)
                    await stream.send_all(packet[cut:])
                    assert (await everything(stream)).endswith(b"\r\n\r\nabc")
    assert seen == ["appliance.door.body"] * 3 + ["appliance.api.quart_app"] * 3


async def test_a_handed_over_connection_has_one_request_since_the_door_has_checked_no_other() -> None:
    async with served(paths=("/v1",)) as server:
        answer = await server.ask(GET + GET)
    assert answer.count(b"hello") == 1
    assert b"connection: close" in answer


async def test_a_client_that_leaves_with_a_second_request_on_its_way_leaves_nothing_behind() -> None:
    async with served(paths=("/v1",)) as server:
        for _ in range(50):
            stream = await server.connect()
            await stream.send_all(GET)
            await stream.send_all(GET)
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            await stream.aclose()
        with trio.fail_after(10):
            while server.listener.connections:
                await trio.sleep(0.01)


@pytest.mark.parametrize(
    ("packet", "status"),
    [
        (b"POST /page HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n", 400),
        (b"POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n", 413),
        (b"POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n", 408),
    ],
)
async def test_the_door_reads_the_body_of_what_it_hands_over(packet: bytes, status: int) -> None:
    async with served(paths=("/v1",), patience=Patience(body=0.2), max_body=1000) as server:
        assert (await server.ask(packet)).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    "body", [b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"]
)
async def test_a_body_is_handed_over_whole(body: bytes) -> None:
    async def answer(request: Request) -> Reply:
        return Reply(200, [], await request.body.read(100))

    async with served(answer, paths=("/v1",)) as server:
        got = await server.ask(b"POST /page HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n" + body)
    assert got.endswith(b"\r\n\r\nabc")


async def test_a_byte_after_a_websocket_handshake_ends_its_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    async with served() as server:
        for _ in range(3):
            async with await server.connect() as stream:
                await stream.send_all(HANDSHAKE)
                await trio.sleep(0.01)
                await stream.send_all(b"X")
                with trio.move_on_after(0.2):
                    await stream.receive_some(1000)
        assert b"hello" in await server.ask(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert "Traceback" not in caplog.text


async def test_a_websocket_handshake_is_refused_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async with served() as server, await server.connect() as stream:
        await stream.send_all(HANDSHAKE)
        assert (await until(stream, b"\r\n\r\n")).startswith(b"HTTP/1.1 4")
    assert "Traceback" not in caplog.text


async def test_a_reader_that_stops_reading_is_cut_and_its_stream_closed() -> None:
    body = Endless()

    async def answer(request: Request) -> Reply:
        return Reply(200, [("content-type", "text/plain")], body)

    hasty = Patience(write_stall=0.3)
    async with served(answer, paths=("/v1",), patience=hasty) as server, await server.connect() as stream:
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await stream.send_all(GET)
        with trio.fail_after(10):
            await body.closed.wait()


async def test_a_reader_that_stops_reading_does_not_hold_up_the_end() -> None:
    body = Endless()

    async def answer(request: Request) -> Reply:
        return Reply(200, [], body)

    async with served(answer, paths=("/v1",)) as server, await server.connect() as stream:
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await stream.send_all(GET)
        await trio.sleep(0.3)  # until every buffer on the way is full
        with trio.fail_after(10):
            server.handover.abort()
            await body.closed.wait()
            while server.listener.connections:
                await trio.sleep(0.01)


async def test_a_client_that_leaves_closes_the_stream() -> None:
    body = Endless()

    async def answer(request: Request) -> Reply:
        return Reply(200, [], body)

    async with served(answer, paths=("/v1",)) as server:
        stream = await server.connect()
        await stream.send_all(GET)
        await stream.receive_some(10)
        await stream.aclose()
        with trio.fail_after(5):
            await body.closed.wait()


async def test_an_idle_connection_closes_when_the_server_goes_away() -> None:
    async with served(paths=("/v1",)) as server, await server.connect() as stream:
        await stream.send_all(HANDSHAKE[: HANDSHAKE.index(b"\r\n\r\n")])
        await server.handover.close_idle()
        await stream.send_all(b"\r\n\r\n")
        with trio.fail_after(5):
            while await stream.receive_some(1000):
                pass
