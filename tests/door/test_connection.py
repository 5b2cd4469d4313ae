import contextlib
import socket

import pytest
import trio
import trio.lowlevel

from appliance.api.reply import error_reply
from appliance.domain.http import Reply, Request
from appliance.door.surroundings import Patience
from appliance.errors import GatewayError
from tests.fakes.doors import Endless, Pieces, Served, Silent, everything, hello, served, until
from tests.fakes.packets import ACCEPTED, REFUSED

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def echo(request: Request) -> Reply:
    body = await request.body.read(10**6)
    return Reply(
        200, [], b"%s %s?%s %d" % (request.method.encode(), request.path.encode(), request.query.encode(), len(body))
    )


async def read(request: Request) -> Reply:
    try:
        await request.body.read(10**6)
    except GatewayError as error:
        return error_reply(error, "req_x")
    return await hello(request)


@pytest.mark.parametrize(("packet", "status"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_a_proxy_must_refuse_is_refused_with_an_answer_that_can_be_read(packet: bytes, status: int) -> None:
    async with served(read) as server:
        answer = await server.ask(packet)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert b"connection: close\r\n" in answer
        assert b'"message":' in answer
        assert b"hello" in await server.ask(LAST)
        assert server.told.events in (
            [],
            ["malformed_request"],
            ["headers_too_large"],
            ["misdirected_host"],
            ["method_not_allowed"],
            ["request_too_large"],
        )


@pytest.mark.parametrize("packet", [packet for name, packet in ACCEPTED.items() if name != "WebSocket"])
async def test_what_is_fine_is_answered(packet: bytes) -> None:
    async with served(echo) as server, await server.connect() as stream:
        await stream.send_all(packet)
        assert (await until(stream, b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_requests_on_one_connection_are_answered_in_order() -> None:
    async def numbered(request: Request) -> Reply:
        await trio.sleep(0.02 if request.path == "/1" else 0)
        return Reply(200, [], request.path.encode())

    pipelined = b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(1, 4))
    async with served(numbered) as server:
        answer = await server.ask(pipelined + LAST)
    assert [part[:2] for part in answer.split(b"\r\n\r\n")[1:]] == [b"/1", b"/2", b"/3", b"/"[:2]]


async def test_a_request_cut_at_every_byte_is_the_same_request() -> None:
    packet = b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    async with served(echo) as server:
        for cut in range(1, len(packet)):
            async with await server.connect() as stream:
                await stream.send_all(packet[:cut])
                await trio.lowlevel.checkpoint()
                await stream.send_all(packet[cut:])
                assert (await everything(stream)).endswith(b"POST /a?b=c 3")


async def test_a_head_request_gets_the_head_alone() -> None:
    async with served() as server:
        answer = await server.ask(b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"content-length: 5\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_an_old_client_gets_a_stream_until_the_connection_closes() -> None:
    async def stream(request: Request) -> Reply:
        return Reply(200, [], Pieces(b"a", b"b"))

    async with served(stream) as server:
        answer = await server.ask(b"GET / HTTP/1.0\r\n\r\n")
    assert b"transfer-encoding" not in answer
    assert answer.endswith(b"\r\n\r\nab")


async def test_a_stream_is_chunked_and_keeps_the_connection() -> None:
    bodies = [Pieces(b"a", b"bc"), Pieces(b"d")]
    left = list(bodies)

    async def stream(request: Request) -> Reply:
        return Reply(200, [], left.pop(0))

    async with served(stream) as server, await server.connect() as client:
        await client.send_all(GET)
        assert (await until(client, b"0\r\n\r\n")).endswith(b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n")
        await client.send_all(LAST)
        assert (await everything(client)).endswith(b"1\r\nd\r\n0\r\n\r\n")
    assert [body.closed for body in bodies] == [1, 1]


async def test_a_broken_stream_ends_its_body_and_then_the_connection() -> None:
    async def stream(request: Request) -> Reply:
        return Reply(200, [], Pieces(b"a", b"error", broken=True))

    async with served(stream) as server:
        assert (await server.ask(GET)).endswith(b"error\r\n0\r\n\r\n")


async def test_a_body_is_asked_for_when_it_is_wanted() -> None:
    async with served(echo) as server, await server.connect() as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert await until(stream, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await stream.send_all(b"abc")
        assert (await until(stream, b"POST")).startswith(b"HTTP/1.1 200")


async def test_a_body_that_is_not_wanted_is_not_asked_for() -> None:
    async def refuse(request: Request) -> Reply:
        return Reply(401, [], b"no")

    async with served(refuse) as server:
        answer = await server.ask(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"connection: close" in answer


async def test_a_small_body_that_nobody_read_does_not_end_the_connection() -> None:
    async with served() as server, await server.connect() as stream:
        for _ in range(2):
            await stream.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
            assert b"close" not in await until(stream, b"hello")


async def test_an_early_answer_to_a_large_upload_can_be_read() -> None:
    async with served() as server, await server.connect() as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n")
        await stream.send_all(b"x" * 4_000_000)
        assert b"hello" in await until(stream, b"hello")


async def test_a_head_that_never_ends_is_a_408() -> None:
    async with served(patience=Patience(head=0.3)) as server:
        assert (await server.ask(b"GET / HTTP/1.1\r\nHost:")).startswith(b"HTTP/1.1 408")
        assert server.told.events == ["request_timeout"]


async def test_a_head_that_drips_is_a_408_too() -> None:
    async with served(patience=Patience(head=0.5)) as server, await server.connect() as stream:
        with trio.fail_after(10), contextlib.suppress(trio.BrokenResourceError):
            while True:
                await stream.send_all(b"G")
                await trio.sleep(0.05)
        assert server.told.events == ["request_timeout"]


async def test_a_body_that_does_not_arrive_is_a_408() -> None:
    async with served(read, patience=Patience(body=0.2)) as server:
        answer = await server.ask(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nx")
    assert answer.startswith(b"HTTP/1.1 408")


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    async with served(patience=Patience(idle=0.3)) as server, await server.connect() as stream:
        await stream.send_all(GET)
        assert b"hello" in await until(stream, b"hello")
        assert await everything(stream) == b""


async def test_a_reader_that_stops_reading_is_cut_and_its_stream_closed() -> None:
    body = Endless()

    async def stream(request: Request) -> Reply:
        return Reply(200, [], body)

    async with served(stream, patience=Patience(write_stall=0.3)) as server, await server.connect() as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await client.send_all(GET)
        with trio.fail_after(10):
            await body.closed.wait()
            while server.listener.connections:
                await trio.sleep(0.01)
        assert server.told.events == ["stalled"]
        assert body.given < 20_000_000


class Pausing(Silent):
    """Falls silent after its first piece, and knows how often somebody looked."""

    def __init__(self) -> None:
        super().__init__(10)
        self.looks = 0

    def keep_alive(self) -> bytes:
        self.looks += 1
        return b"" if self.looks == 1 else b": alive\n"


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_a_silent_stream_says_that_it_lives(version: bytes) -> None:
    body = Pausing()

    async def stream(request: Request) -> Reply:
        return Reply(200, [], body)

    async with served(stream, patience=Patience(silence=0.05)) as server, await server.connect() as client:
        await client.send_all(GET.replace(b"1.1", version))
        got = await until(client, b": alive\n\r\n8\r\n: alive\n" if version == b"1.1" else b": alive\n: alive\n")
        assert got.count(b"x" * 10) == 1
        await client.aclose()
        with trio.fail_after(5):
            await body.closed.wait()


async def leave_politely(client: trio.SocketStream) -> None:
    await client.aclose()


async def leave_by_reset(client: trio.SocketStream) -> None:
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    await client.aclose()


async def leave_by_half(client: trio.SocketStream) -> None:
    await client.send_eof()


@pytest.mark.parametrize("behind", [b"", GET], ids=["nothing behind", "a pipelined request behind"])
@pytest.mark.parametrize("leave", [leave_politely, leave_by_reset, leave_by_half])
async def test_a_client_that_leaves_before_the_first_byte_cancels_its_exchange(leave: object, behind: bytes) -> None:
    begun, cancelled = trio.Event(), trio.Event()

    async def think(request: Request) -> Reply:
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()
        raise AssertionError

    async with served(think) as server:
        client = await server.connect()
        await client.send_all(GET + behind)
        await begun.wait()
        await leave(client)  # type: ignore[operator]
        with trio.fail_after(5):
            await cancelled.wait()
            while server.listener.connections:
                await trio.sleep(0.01)
        await client.aclose()


@pytest.mark.parametrize("behind", [b"", GET], ids=["nothing behind", "a pipelined request behind"])
@pytest.mark.parametrize("leave", [leave_politely, leave_by_reset, leave_by_half])
async def test_a_client_that_leaves_mid_stream_closes_the_stream(leave: object, behind: bytes) -> None:
    body = Silent(10)

    async def stream(request: Request) -> Reply:
        return Reply(200, [], body)

    async with served(stream) as server:
        client = await server.connect()
        await client.send_all(GET + behind)
        await until(client, b"x")
        await leave(client)  # type: ignore[operator]
        with trio.fail_after(5):
            await body.closed.wait()
        await client.aclose()


async def test_a_client_that_leaves_inside_its_body_cancels_its_exchange() -> None:
    cancelled = trio.Event()

    async def upload(request: Request) -> Reply:
        try:
            await request.body.read(10**6)
        except trio.Cancelled:
            cancelled.set()
            raise
        raise AssertionError

    async with served(upload) as server:
        client = await server.connect()
        await client.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nx")
        await client.aclose()
        with trio.fail_after(5):
            await cancelled.wait()


async def test_a_request_and_its_end_in_one_packet_is_answered_if_that_takes_no_waiting() -> None:
    async with served() as server, await server.connect() as client:
        await client.send_all(GET)
        await client.send_eof()
        assert b"hello" in await everything(client)


async def test_an_upgrade_with_bytes_behind_it_is_refused_here() -> None:
    handshake = (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    async with served() as server:
        assert (await server.ask(handshake + b"X")).startswith(b"HTTP/1.1 400")
        assert server.told.events == ["malformed_request"]


async def drain(server: Served) -> None:
    server.listener.stop_accepting()
    server.reception.close_idle()


async def test_when_the_server_goes_away_idle_connections_close_and_busy_ones_finish() -> None:
    go = trio.Event()

    async def wait(request: Request) -> Reply:
        await go.wait()
        return await hello(request)

    async with served(wait) as server, await server.connect() as idle, await server.connect() as busy:
        await busy.send_all(GET)
        await trio.sleep(0.05)
        await drain(server)
        assert await everything(idle) == b""
        go.set()
        answer = await everything(busy)
        assert b"hello" in answer
        assert b"connection: close" in answer


async def test_a_request_that_cannot_be_waited_for_is_told_why() -> None:
    async def wait(request: Request) -> Reply:
        await trio.sleep_forever()
        raise AssertionError

    async with served(wait) as server, await server.connect() as client:
        await client.send_all(GET)
        await trio.sleep(0.05)
        server.reception.interrupt(GatewayError("draining", "going away", retry_after=1))
        answer = await everything(client)
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"going away" in answer
