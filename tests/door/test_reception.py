import socket

import trio

from appliance.domain.http import Reply, Request
from appliance.door.listener import Caps
from appliance.door.reception import Reception
from appliance.door.transport import PlainTransport, Transport
from tests.fakes.doors import Silent, everything, hello, served, until

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_a_connection_too_many_is_told_so_and_idle_ones_make_room() -> None:
    async with served(caps=Caps(1)) as server, await server.connect() as idle:
        await trio.sleep(0.05)
        answer = await server.ask(b"")
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"too_many_connections" in answer
        assert b"retry-after: 1\r\n" in answer
        assert await everything(idle) == b""
        assert b"hello" in await server.ask(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert server.told.events == ["limit"]


async def test_a_busy_connection_is_not_closed_for_room() -> None:
    body = Silent(10)

    async def stream(request: Request) -> Reply:
        return Reply(200, [], body)

    async with served(stream, caps=Caps(1)) as server, await server.connect() as busy:
        await busy.send_all(GET)
        await until(busy, b"x")
        assert (await server.ask(b"")).startswith(b"HTTP/1.1 503")
        await trio.sleep(0.05)
        assert not body.closed.is_set()


async def test_cut_ends_what_a_stalled_reader_holds() -> None:
    body = Silent(10)

    async def stream(request: Request) -> Reply:
        return Reply(200, [], body)

    async with served(stream) as server, await server.connect() as client:
        await client.send_all(GET)
        await until(client, b"x")
        server.reception.cut()
        with trio.fail_after(5):
            await body.closed.wait()
            while server.listener.connections:
                await trio.sleep(0.01)


async def test_a_handshake_that_fails_is_counted_and_ends_its_connection_only() -> None:
    async def handshake(sock: socket.socket) -> Transport:
        if await PlainTransport(sock).receive(1) == b"!":
            raise ConnectionError("no common protocol version")
        return PlainTransport(sock)

    async with served(hello) as server:
        server.listener._desk = Reception(server.reception._around, server.told, handshake)
        assert await server.ask(b"!") == b""
        assert b"hello" in await server.ask(b" GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert server.told.events == ["handshake"]
