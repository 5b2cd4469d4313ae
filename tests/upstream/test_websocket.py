import functools

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

from appliance.domain.secret import Secret
from appliance.domain.targets import Address, Endpoint
from appliance.errors import ConnectFailed, ConnectionLost, UpstreamTimeout
from appliance.upstream.deadlines import Deadlines
from appliance.upstream.websocket import Ended, EngineSocket, Rejected, open_websocket

NO_HURRY = Deadlines(connect=5, first_byte=5)


async def echo(request: WebSocketRequest) -> None:
    """A server that says what it was asked, and then everything again."""
    if "refuse" in request.path:
        await request.reject(429, extra_headers=[(b"content-type", b"text/plain")], body=b"too many")
        return
    connection = await request.accept(subprotocol="b" if "b" in request.proposed_subprotocols else None)
    headers = dict(request.headers)
    await connection.send_message(f"{request.path} {headers.get(b'authorization', b'').decode()}")
    try:
        while (message := await connection.get_message()) != "stop":
            await connection.send_message(message)
        await connection.aclose(4001, "as you say")
    except ConnectionClosed:
        pass


async def listening(nursery: trio.Nursery) -> Endpoint:
    server = await nursery.start(functools.partial(serve_websocket, echo, "127.0.0.1", 0, ssl_context=None))
    return Endpoint(Address("http", "127.0.0.1", server.port, "/base"), Secret("sk-engine"))


async def opened(nursery: trio.Nursery, endpoint: Endpoint, path: str = "/v1/x?y=1") -> EngineSocket:
    return await open_websocket(nursery, endpoint, path, ["a", "b"], NO_HURRY)


async def test_messages_of_both_kinds_and_the_close_with_its_code() -> None:
    async with trio.open_nursery() as nursery:
        socket = await opened(nursery, await listening(nursery))
        assert await socket.receive() == "/base/v1/x?y=1 Bearer sk-engine"
        for message in ("é", b"\0\xff", "x" * 100_000, ""):
            await socket.send(message)
            assert await socket.receive() == message
        await socket.ping()
        await socket.send("stop")
        with pytest.raises(Ended) as ended:
            await socket.receive()
        assert (ended.value.code, ended.value.reason) == (4001, "as you say")
        with pytest.raises(Ended):
            await socket.send("more")
        with pytest.raises(Ended):
            await socket.ping()
        await socket.aclose()
        nursery.cancel_scope.cancel()


async def test_a_handshake_that_is_refused_ends_nobody_else() -> None:
    async with trio.open_nursery() as nursery:
        endpoint = await listening(nursery)
        with pytest.raises(Rejected) as refused:
            await opened(nursery, endpoint, "/refuse")
        assert (refused.value.status, refused.value.body) == (429, b"too many")
        socket = await opened(nursery, endpoint)
        await socket.aclose()
        nursery.cancel_scope.cancel()


async def test_nobody_there_cannot_be_connected_to() -> None:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    async with trio.open_nursery() as nursery:
        with pytest.raises(ConnectFailed):
            await opened(nursery, Endpoint(Address("http", "127.0.0.1", port)))
        with pytest.raises(ConnectFailed):
            await opened(nursery, Endpoint(Address("unix", "/nowhere/at/all.sock")))


@pytest.mark.parametrize("reset", [True, False])
async def test_a_connection_that_breaks_in_the_handshake_was_none_and_no_deadline_has_passed(reset: bool) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(1 if reset else 65536)  # what was not read makes the kernel reset it

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(functools.partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        endpoint = Endpoint(Address("http", "127.0.0.1", listener.socket.getsockname()[1]))
        with trio.fail_after(10), pytest.raises(ConnectFailed, match="hung up"):
            await opened(nursery, endpoint)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("answers", [True, False])
async def test_whoever_says_nothing_or_garbage_is_given_up(answers: bool) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(65536)
            if answers:
                await stream.send_all(b"what?\r\n\r\n")
            else:
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(functools.partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        endpoint = Endpoint(Address("http", "127.0.0.1", listener.socket.getsockname()[1]))
        with trio.fail_after(10), pytest.raises(ConnectionLost if answers else UpstreamTimeout):
            await open_websocket(nursery, endpoint, "/", [], Deadlines(connect=5, first_byte=0.2))
        nursery.cancel_scope.cancel()
