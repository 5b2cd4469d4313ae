from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from appliance.api.quart_app import build_app
from appliance.api.reply import error_reply
from appliance.domain.http import Reply, Request
from appliance.door.handover import Handover
from appliance.door.listener import Listener
from appliance.errors import GatewayError


class Pieces:
    """A streamed body of given pieces."""

    def __init__(self, *pieces: bytes, broken: bool = False) -> None:
        self.broken = broken
        self.closed = 0
        self._pieces = list(pieces)

    def __aiter__(self) -> "Pieces":
        return self

    async def __anext__(self) -> bytes:
        if not self._pieces:
            raise StopAsyncIteration
        return self._pieces.pop(0)

    async def aclose(self) -> None:
        self.closed += 1


@asynccontextmanager
async def served(
    dispatch: Callable[[Request], Awaitable[Reply]], **settings: float
) -> AsyncIterator[trio.SocketStream]:
    app = build_app(dispatch, max_body=int(settings.get("max_body", 100)), body_timeout=settings.get("body_timeout", 5))
    handover = Handover(app, write_stall=5)
    listener = await Listener.bind("127.0.0.1", 0, handover.connection)
    async with trio.open_nursery() as nursery:
        await nursery.start(handover.run_lifespan)
        nursery.start_soon(listener.run)
        async with await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
            yield stream
        nursery.cancel_scope.cancel()


async def until(stream: trio.SocketStream, end: bytes) -> bytes:
    data = b""
    with trio.fail_after(5):
        while end not in data:
            piece = await stream.receive_some(65536)
            if not piece:
                break
            data += piece
    return data


async def test_the_request_arrives_as_it_was_sent() -> None:
    seen: list[tuple[str, str, str, str | None, str, bytes]] = []

    async def dispatch(request: Request) -> Reply:
        body = await request.body.read(100)
        seen.append((request.method, request.path, request.query, request.header("x-a"), request.peer, body))
        return Reply(201, [("x-b", "2")], b"done")

    async with served(dispatch) as stream:
        await stream.send_all(b"POST /v1/a%2Fb//c?q=1 HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nhi")
        answer = await until(stream, b"done")
    assert seen == [("POST", "/v1/a%2Fb//c", "q=1", "1", "127.0.0.1", b"hi")]
    assert answer.startswith(b"HTTP/1.1 201")
    assert b"x-b: 2" in answer
    assert b"content-length: 4" in answer


async def test_a_good_stream_keeps_the_connection() -> None:
    bodies = [Pieces(b"a", b"b"), Pieces(b"c")]
    handed = list(bodies)

    async def dispatch(request: Request) -> Reply:
        return Reply(200, [], handed.pop(0))

    async with served(dispatch) as stream:
        for _ in range(2):
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"HTTP/1.1 200" in await until(stream, b"0\r\n\r\n")
    assert all(body.closed for body in bodies)


async def test_a_broken_stream_ends_its_body_and_then_the_connection() -> None:
    async def dispatch(request: Request) -> Reply:
        return Reply(200, [], Pieces(b"a", b"error", broken=True))

    async with served(dispatch) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"error\r\n0\r\n\r\n" in await until(stream, b"0\r\n\r\n")
        with trio.fail_after(5):
            assert await stream.receive_some(10) == b""


async def read_all(request: Request) -> Reply:
    try:
        return Reply(200, [], await request.body.read(100))
    except GatewayError as error:
        return error_reply(error, "id")


async def test_a_body_over_the_limit_is_refused_with_an_answer_that_can_be_read() -> None:
    async with served(read_all) as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n" + b"x" * 100_000)
        answer = await until(stream, b'"request_id":"id"}')
    assert answer.startswith(b"HTTP/1.1 413")


async def test_a_chunked_body_over_the_limit_is_refused_too() -> None:
    async with served(read_all) as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(10):
            await stream.send_all(b"64\r\n" + b"x" * 100 + b"\r\n")
        await stream.send_all(b"0\r\n\r\n")
        answer = await until(stream, b'"request_id":"id"}')
    assert answer.startswith(b"HTTP/1.1 413")


async def test_a_body_that_does_not_arrive_is_a_408() -> None:
    async with served(read_all, body_timeout=0.2) as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nx")
        assert (await until(stream, b'"request_id":"id"}')).startswith(b"HTTP/1.1 408")


async def test_an_odd_method_gets_an_answer_of_ours() -> None:
    async def dispatch(request: Request) -> Reply:
        return error_reply(GatewayError("method_not_allowed", request.method), "id")

    async with served(dispatch) as stream:
        await stream.send_all(b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await until(stream, b'"request_id":"id"}')
    assert answer.startswith(b"HTTP/1.1 405")
    assert b"BREW" in answer
