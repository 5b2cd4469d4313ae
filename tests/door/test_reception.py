import socket

import trio

from appliance.domain.http import Reply, Request
from appliance.door.listener import Caps
from appliance.door.reception import Reception
from appliance.door.transport import PlainTransport, Transport
from tests.fakes.doors import Pieces, Silent, everything, hello, served, until

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


async def test_connections_go_elsewhere_as_soon_as_they_have_no_request() -> None:
    """One that is idle at once; one with an answer under way after it, kept alive; and what they say next is served."""
    body = Pieces(b"one", b"two")
    go = trio.Event()

    async def answer(request: Request) -> Reply:
        if request.path == "/stream":
            await go.wait()
            return Reply(200, [], body)
        return await hello(request)

    async with served(answer) as old, served() as new, await old.connect() as idle, await old.connect() as busy:
        await idle.send_all(GET)
        await until(idle, b"hello")
        await busy.send_all(GET.replace(b"/", b"/stream", 1))
        with trio.fail_after(5):
            while old.listener.connections < 2 or old.reception._open == set():
                await trio.sleep(0.01)
        await trio.testing.wait_all_tasks_blocked(0.05)
        peers: list[str] = []

        def elsewhere(sock: socket.socket, peer: str) -> None:
            peers.append(peer)
            new.listener.take_in(sock, peer)

        old.reception.move_idle(elsewhere)
        await idle.send_all(GET)
        assert b"hello" in await until(idle, b"hello")
        assert (peers, old.listener.connections) == (["127.0.0.1"], 1)
        go.set()
        answered = await until(busy, b"0\r\n\r\n")
        assert b"connection: close" not in answered.lower()
        assert b"two" in answered
        await busy.send_all(GET)
        assert b"hello" in await until(busy, b"hello")
        with trio.fail_after(5):
            while old.listener.connections:
                await trio.sleep(0.01)
        assert (len(peers), new.listener.connections) == (2, 2)


async def test_a_request_that_has_begun_to_arrive_is_served_where_it_began() -> None:
    async with served() as old, served() as new, await old.connect() as late:
        await late.send_all(GET[:10])
        await trio.testing.wait_all_tasks_blocked(0.05)
        old.reception.move_idle(new.listener.take_in)
        await late.send_all(GET[10:] + GET[:7])  # and the next one begins right behind it
        assert (await until(late, b"hello")).startswith(b"HTTP/1.1 200")
        assert new.listener.connections == 0
        await late.send_all(GET[7:])
        await until(late, b"hello")
        with trio.fail_after(5):
            while new.listener.connections != 1:
                await trio.sleep(0.01)


async def test_what_cannot_go_elsewhere_is_closed_between_requests() -> None:
    class Keyed(PlainTransport):
        """As TLS is: what a socket alone does not know."""

        def __init__(self, sock: socket.socket) -> None:
            super().__init__(sock)
            self.secure = True

        def move(self, *, waiting: bool) -> None:
            del waiting

    async def handshake(sock: socket.socket) -> Transport:
        await trio.lowlevel.checkpoint()
        return Keyed(sock)

    async with served() as old, await old.connect() as idle:
        old.reception._secure = handshake
        async with await old.connect() as keyed:
            await keyed.send_all(GET)
            await until(keyed, b"hello")
            moved: list[str] = []

            def elsewhere(sock: socket.socket, peer: str) -> None:
                moved.append(peer)
                sock.close()

            old.reception.move_idle(elsewhere)
            assert await everything(keyed) == b""
            assert moved == ["127.0.0.1"]
        assert await everything(idle) == b""
