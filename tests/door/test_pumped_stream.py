"""Streams that push their pieces to the client from another task, as a relay does while it flows."""

import contextlib
import random
import socket
from collections.abc import Callable

import pytest
import trio
import trio.testing

from appliance.domain.http import Reply, Request
from appliance.door.surroundings import Patience
from appliance.sockets.readiness import Reader, Readiness
from tests.fakes.doors import Answer, everything, served, until

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\n\r\n"


class Flowing:
    """What is written to `engine` flows to the client; `!` at the end of a piece makes it the last."""

    def __init__(self) -> None:
        self.broken = self.ended = False
        self.closed = trio.Event()
        self.pumped = self.offered = self.refused = 0
        self.engine, self._ours = socket.socketpair()
        for sock in (self.engine, self._ours):
            sock.setblocking(False)
        self._readiness = Readiness()
        self._reader = Reader(self._ours, self._readiness)

    def __aiter__(self) -> "Flowing":
        return self

    async def __anext__(self) -> bytes:
        if self.ended:
            raise StopAsyncIteration
        await self._reader.wait()
        return self._taken() or await self._over()

    async def _over(self) -> bytes:
        raise StopAsyncIteration

    def _taken(self) -> bytes:
        data = self._reader.read(65536)
        self.ended = data.endswith(b"!")
        return data

    async def pump(self, offer: Callable[[bytes], bool]) -> None:
        if self.ended:
            return
        self.pumped += 1

        def step() -> bool:
            if not (data := self._taken()):
                return True
            self.offered += 1
            if offer(data):
                return self.ended
            self.refused += 1
            return True

        await self._reader.run(step)

    def keep_alive(self) -> bytes:
        return b": alive\n"

    def close(self) -> bool:
        return False

    async def aclose(self) -> None:
        assert self._readiness.flowing == 0
        self._reader.close()
        self._ours.close()
        self.engine.close()
        self.closed.set()

    async def say(self, data: bytes) -> None:
        """From the engine's side; returns early when nobody listens any more."""
        with contextlib.suppress(OSError, trio.ClosedResourceError):
            while data and not self.closed.is_set():
                try:
                    data = data[self.engine.send(data) :]
                except BlockingIOError:
                    await trio.sleep(0.002)


def giving(body: Flowing) -> Answer:
    async def stream(request: Request) -> Reply:
        return Reply(200, [], body)

    return stream


def unchunked(data: bytes) -> bytes:
    """The body of a chunked answer, whose framing must be whole."""
    rest, body = data.partition(b"\r\n\r\n")[2], b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body += rest[:length]
        assert rest[length : length + 2] == b"\r\n"
        rest = rest[length + 2 :]
        if not length:
            assert rest == b""
            return body


@pytest.mark.parametrize("end", [b"end!", b"end"], ids=["known to be the last", "just over"])
async def test_pieces_that_flow_are_chunks_in_order_with_one_end(end: bytes) -> None:
    body = Flowing()
    async with served(giving(body)) as server, await server.connect() as client:
        await client.send_all(LAST)
        for number in range(50):
            await body.say(b"%d," % number)
            await trio.sleep(0.001 * (number % 3))
        await body.say(end)
        body.engine.shutdown(socket.SHUT_WR)
        answer = await everything(client)
    assert unchunked(answer) == b"".join(b"%d," % number for number in range(50)) + end
    assert answer.count(b"0\r\n\r\n") == 1
    assert body.pumped < 10 < body.offered  # it did flow
    assert body.closed.is_set()


async def test_one_connection_carries_one_flowing_stream_after_another() -> None:
    bodies = [Flowing() for _ in range(5)]
    left = list(bodies)

    async def stream(request: Request) -> Reply:
        return Reply(200, [], left.pop(0))

    async with served(stream) as server, await server.connect() as client:
        for body in bodies:
            await client.send_all(GET)
            for piece in (b"one ", b"two ", b"three!"):
                await body.say(piece)
                await trio.sleep(0.002)
            assert unchunked(await until(client, b"0\r\n\r\n")) == b"one two three!"
            with trio.fail_after(10):
                await body.closed.wait()


async def test_an_old_client_gets_the_bytes_alone() -> None:
    body = Flowing()
    async with served(giving(body)) as server, await server.connect() as client:
        await client.send_all(OLD)
        for piece in (b"one ", b"two ", b"three!"):
            await body.say(piece)
            await trio.sleep(0.01)
        assert (await everything(client)).endswith(b"\r\n\r\none two three!")


async def test_a_slow_reader_stops_the_flow_and_gets_every_byte() -> None:
    body, dice = Flowing(), random.Random(3)
    whole = dice.randbytes(12_000_000).replace(b"!", b"?") + b"!"
    async with served(giving(body)) as server, await server.connect() as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        await client.send_all(LAST)
        got = bytearray()
        with trio.fail_after(40):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(body.say, whole)
                while not body.refused:
                    await trio.sleep(0.005)
                while piece := await client.receive_some(200_000):
                    got += piece
                    if dice.random() < 0.1:
                        await trio.sleep(0.01)
    assert unchunked(bytes(got)) == whole
    assert server.told.events == []


async def closed(body: Flowing) -> None:
    with trio.fail_after(10):
        await body.closed.wait()


async def test_a_reader_that_stops_reading_is_cut_and_the_stream_closed() -> None:
    body = Flowing()
    async with (
        served(giving(body), patience=Patience(write_stall=0.3)) as server,
        await server.connect() as client,
        trio.open_nursery() as nursery,
    ):
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await client.send_all(GET)
        nursery.start_soon(body.say, b"x" * 50_000_000)
        await closed(body)
        with trio.fail_after(10):
            while server.listener.connections:
                await trio.sleep(0.01)
        assert server.told.events == ["stalled"]
        assert body.offered < 1000
        assert body.refused > 0


def leave_politely(client: trio.SocketStream) -> None:
    client.socket.close()


def leave_by_half(client: trio.SocketStream) -> None:
    client.socket.shutdown(socket.SHUT_WR)


def leave_by_reset(client: trio.SocketStream) -> None:
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.socket.close()


@pytest.mark.parametrize("busy", [False, True], ids=["silent", "busy"])
@pytest.mark.parametrize("leave", [leave_politely, leave_by_half, leave_by_reset])
async def test_a_client_that_leaves_while_its_stream_flows_closes_it(
    leave: Callable[[trio.SocketStream], None], busy: bool
) -> None:
    body = Flowing()
    async with served(giving(body)) as server, await server.connect() as client, trio.open_nursery() as nursery:
        await client.send_all(GET)
        await body.say(b"one")
        await until(client, b"one")
        if busy:

            async def talk() -> None:
                while not body.closed.is_set():
                    await body.say(b"word ")
                    await trio.lowlevel.checkpoint()

            nursery.start_soon(talk)
            await until(client, b"word")
        leave(client)
        await closed(body)
        with trio.fail_after(10):
            while server.listener.connections:
                await trio.sleep(0.01)
        assert server.told.events == []


async def test_a_write_that_fails_while_the_stream_flows_closes_it_and_harms_no_other() -> None:
    bodies = [Flowing(), Flowing()]
    left = list(bodies)

    async def stream(request: Request) -> Reply:
        return Reply(200, [], left.pop(0))

    async with served(stream) as server, await server.connect() as broken, await server.connect() as other:
        for body, client in zip(bodies, (broken, other), strict=True):
            await client.send_all(GET)
            await body.say(b"one")
            await until(client, b"one\r\n")
        for sock in [connection._transport.socket for connection in server.reception._open]:
            if sock.getpeername() == broken.socket.getsockname():
                sock.shutdown(socket.SHUT_WR)  # what is written now fails, and nothing else tells
        with trio.fail_after(10):
            while not bodies[0].closed.is_set():
                await bodies[0].say(b"two")
                await trio.sleep(0.002)
        await bodies[1].say(b"two!")
        assert await until(other, b"0\r\n\r\n") == b"4\r\ntwo!\r\n0\r\n\r\n"
        await closed(bodies[1])


async def test_an_error_of_the_streams_own_while_it_flows_is_contained() -> None:
    class Bad(Flowing):
        async def pump(self, offer: Callable[[bytes], bool]) -> None:
            await super().pump(lambda piece: bool(1 // 0))

    body = Bad()
    async with served(giving(body)) as server, await server.connect() as client:
        await client.send_all(GET)
        await body.say(b"one")
        await until(client, b"one")
        await body.say(b"two")
        await everything(client)  # it ends
        await closed(body)
        assert server.told.events == ["error"]


async def test_when_the_server_is_stopped_while_streams_flow_they_are_closed() -> None:
    body = Flowing()
    async with served(giving(body)) as server, await server.connect() as client:
        await client.send_all(GET)
        await body.say(b"one")
        await until(client, b"one")
        await trio.testing.wait_all_tasks_blocked(0.01)
    await closed(body)
