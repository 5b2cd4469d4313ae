"""What every door owes an endpoint and a client, asked of both: the door itself and Quart."""

import pytest
import trio

from appliance.api.reply import error_reply
from appliance.domain.http import Ready, Reply, Request
from appliance.door.surroundings import Patience
from appliance.errors import GatewayError
from tests.fakes.doors import Pieces, Which, served, until

BOTH = pytest.mark.parametrize("which", ["door", "quart"])


@BOTH
async def test_the_request_arrives_as_it_was_sent(which: Which) -> None:
    seen: list[tuple[str, str, str, str | None, str, bytes]] = []

    async def answer(request: Request) -> Reply:
        body = await request.body.read(100)
        seen.append((request.method, request.path, request.query, request.header("x-a"), request.peer, body))
        return Reply(201, [("x-b", "2")], b"done")

    async with served(answer, which=which) as server, await server.connect() as stream:
        await stream.send_all(b"POST /v1/a%2Fb//c?q=1 HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nhi")
        got = await until(stream, b"done")
    assert seen == [("POST", "/v1/a%2Fb//c", "q=1", "1", "127.0.0.1", b"hi")]
    assert got.startswith(b"HTTP/1.1 201")
    assert b"x-b: 2" in got
    assert b"content-length: 4" in got


@BOTH
async def test_headers_that_are_ready_arrive_with_the_others(which: Which) -> None:
    async def answer(request: Request) -> Reply:
        body = Pieces(b"a") if request.path == "/stream" else b"done"
        return Reply(200, [("x-a", "1")], body, ready=Ready([("x-b", "2"), ("x-c", "3")]))

    async with served(answer, which=which) as server:
        for path, end in (("/", b"done"), ("/stream", b"0\r\n\r\n")):
            async with await server.connect() as stream:
                await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                got = await until(stream, end)
            assert all(header in got for header in (b"x-a: 1\r\n", b"x-b: 2\r\n", b"x-c: 3\r\n"))


@BOTH
async def test_a_stream_arrives_whole_and_is_closed(which: Which) -> None:
    body = Pieces(b"a", b"b")

    async def answer(request: Request) -> Reply:
        return Reply(200, [], body)

    async with served(answer, which=which) as server, await server.connect() as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        got = await until(stream, b"0\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200")
    assert b"1\r\na\r\n1\r\nb\r\n" in got
    assert body.closed


@BOTH
async def test_a_broken_stream_ends_its_body_and_then_the_connection(which: Which) -> None:
    async def answer(request: Request) -> Reply:
        return Reply(200, [], Pieces(b"a", b"error", broken=True))

    async with served(answer, which=which) as server:
        assert (await server.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")).endswith(b"error\r\n0\r\n\r\n")


async def read_all(request: Request) -> Reply:
    try:
        return Reply(200, [], await request.body.read(100))
    except GatewayError as error:
        return error_reply(error, "id")


@BOTH
async def test_a_body_over_the_limit_is_refused_with_an_answer_that_can_be_read(which: Which) -> None:
    async with served(read_all, which=which) as server, await server.connect() as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n" + b"x" * 100_000)
        got = await until(stream, b'"request_id":"id"}')
    assert got.startswith(b"HTTP/1.1 413")


@BOTH
async def test_a_chunked_body_over_the_limit_is_refused_too(which: Which) -> None:
    async with served(read_all, which=which) as server, await server.connect() as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(10):
            await stream.send_all(b"64\r\n" + b"x" * 100 + b"\r\n")
        await stream.send_all(b"0\r\n\r\n")
        got = await until(stream, b'"request_id":"id"}')
    assert got.startswith(b"HTTP/1.1 413")


@BOTH
async def test_a_body_that_does_not_arrive_is_a_408(which: Which) -> None:
    async with served(read_all, which=which, patience=Patience(body=0.2)) as server, await server.connect() as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nx")
        assert (await until(stream, b'"request_id":"id"}')).startswith(b"HTTP/1.1 408")


@BOTH
async def test_an_odd_method_gets_an_answer_of_ours(which: Which) -> None:
    async def answer(request: Request) -> Reply:
        return error_reply(GatewayError("method_not_allowed", request.method), "id")

    async with served(answer, which=which) as server, await server.connect() as stream:
        await stream.send_all(b"PATCH / HTTP/1.1\r\nHost: x\r\n\r\n")
        got = await until(stream, b'"request_id":"id"}')
    assert got.startswith(b"HTTP/1.1 405")
    assert b"PATCH" in got


@BOTH
async def test_a_head_request_has_no_body(which: Which) -> None:
    async def answer(request: Request) -> Reply:
        return Reply(200, [], b"hello")

    async with served(answer, which=which) as server:
        got = await server.ask(b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"content-length: 5\r\n" in got
    assert got.endswith(b"\r\n\r\n")


@BOTH
async def test_a_client_that_leaves_cancels_the_endpoint(which: Which) -> None:
    begun, cancelled = trio.Event(), trio.Event()

    async def think(request: Request) -> Reply:
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()
        raise AssertionError

    async with served(think, which=which) as server:
        stream = await server.connect()
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await begun.wait()
        await stream.aclose()
        with trio.fail_after(5):
            await cancelled.wait()


async def test_a_request_through_quart_that_cannot_be_waited_for_is_told_why() -> None:
    async def wait(request: Request) -> Reply:
        await trio.sleep_forever()
        raise AssertionError

    async with served(wait, which="quart") as server, await server.connect() as client:
        await client.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await trio.sleep(0.1)
        server.quart.interrupt(GatewayError("draining", "going away", retry_after=1))
        answer = await until(client, b"going away")
    assert answer.startswith(b"HTTP/1.1 503")
