"""An application behind a real listening socket: through the door itself, or through Quart as the second door."""

import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

import trio

from appliance.api.quart_app import App as QuartDoor
from appliance.api.quart_app import build_app
from appliance.api.reply import error_reply
from appliance.domain.http import Reply, Request
from appliance.door.handover import Handover
from appliance.door.listener import Caps, Listener
from appliance.door.reception import Reception
from appliance.door.reply import Clock
from appliance.door.surroundings import Patience, Surroundings
from appliance.door.transport import PlainTransport
from appliance.door.watch import Watch
from appliance.errors import GatewayError
from appliance.http1.incoming import HeadLimits

Which = Literal["door", "quart"]
Answer = Callable[[Request], Awaitable[Reply]]


async def hello(request: Request) -> Reply:
    return Reply(200, [("content-type", "text/plain")], b"hello")


class Pieces:
    """A streamed body of given pieces."""

    def __init__(self, *pieces: bytes, broken: bool = False) -> None:
        self.broken = broken
        self.ended = False
        self.closed = 0
        self._pieces = list(pieces)

    def __aiter__(self) -> "Pieces":
        return self

    async def __anext__(self) -> bytes:
        if not self._pieces:
            raise StopAsyncIteration
        piece = self._pieces.pop(0)
        self.ended = not self._pieces
        return piece

    async def pump(self, offer: Callable[[bytes], bool]) -> None:
        """Has nothing to say by itself."""

    def keep_alive(self) -> bytes:
        return b""

    def close(self) -> bool:
        return False

    async def aclose(self) -> None:
        self.closed += 1


class Endless:
    """A body that never ends; it knows when it was closed."""

    def __init__(self, size: int = 65536) -> None:
        self.broken = self.ended = False
        self.closed = trio.Event()
        self.given = 0
        self._piece = b"x" * size

    def __aiter__(self) -> "Endless":
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        self.given += len(self._piece)
        return self._piece

    async def pump(self, offer: Callable[[bytes], bool]) -> None:
        """Has nothing to say by itself."""

    def keep_alive(self) -> bytes:
        return b""

    def close(self) -> bool:
        return False

    async def aclose(self) -> None:
        self.closed.set()


class Silent(Endless):
    """A body whose first piece comes at once and whose second never does."""

    async def __anext__(self) -> bytes:
        if self.given:
            await trio.sleep_forever()
        return await super().__anext__()


@dataclass
class Told:
    """What the door reported."""

    events: list[str] = field(default_factory=list)

    def bad_request(self, code: str) -> None:
        self.events.append(code)

    def client_stalled(self) -> None:
        self.events.append("stalled")

    def connection_refused(self, reason: str) -> None:
        self.events.append(reason)

    def connection_error(self) -> None:
        self.events.append("error")


@dataclass
class App:
    """An application that answers with one function."""

    answer: Answer
    paths: tuple[str, ...] = ("/", "*")

    def serves(self, path: str) -> bool:
        return path.startswith(self.paths)

    async def __call__(self, request: Request) -> Reply:
        return await self.answer(request)

    def refusal(self, error: GatewayError) -> Reply:
        return error_reply(error, "req_x")


class Straight(Reception):
    """Gives every connection to Hypercorn at once: Quart as the only door, as it is for HTTP/2."""

    def __init__(self, around: Surroundings, told: "Told", handover: Handover) -> None:
        super().__init__(around, told)
        self.handover = handover

    async def serve(self, sock: socket.socket, peer: str) -> None:
        await self.handover.connection(PlainTransport(sock), b"", more=True)


@dataclass
class Served:
    """A listening server."""

    port: int
    listener: Listener
    reception: Reception
    handover: Handover
    told: Told
    watch: Watch
    quart: QuartDoor

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def ask(self, data: bytes, seconds: float = 10) -> bytes:
        """Send bytes on a connection of their own, and return everything until the server closes it."""
        async with await self.connect() as stream:
            await stream.send_all(data)
            return await everything(stream, seconds)


async def everything(stream: trio.SocketStream, seconds: float = 10) -> bytes:
    """All bytes until the other side closes; a reset is an error."""
    got = b""
    with trio.fail_after(seconds):
        while piece := await stream.receive_some(65536):
            got += piece
    return got


async def until(stream: trio.SocketStream, end: bytes, seconds: float = 10) -> bytes:
    """All bytes up to a mark, or to the end of the connection."""
    got = b""
    with trio.fail_after(seconds):
        while end not in got and (piece := await stream.receive_some(65536)):
            got += piece
    return got


@asynccontextmanager
async def served(
    answer: Answer = hello,
    *,
    which: Which = "door",
    patience: Patience | None = None,
    limits: HeadLimits | None = None,
    caps: Caps | None = None,
    max_body: int = 100,
    paths: tuple[str, ...] = ("/", "*"),
) -> AsyncIterator[Served]:
    """A real listener on loopback for as long as the block runs."""
    app, told, watch = App(answer, paths), Told(), Watch()
    patience = patience or Patience()
    quart = build_app(app, max_body=max_body, body_timeout=patience.body)
    handover = Handover(quart, write_stall=patience.write_stall)
    around = Surroundings(
        app, handover.connection, watch, Clock(time.monotonic), told, patience, limits or HeadLimits()
    )
    around.max_body = max_body
    reception = Reception(around, told) if which == "door" else Straight(around, told, handover)
    listener = await Listener.bind("127.0.0.1", 0, reception, caps or Caps(1000))
    async with trio.open_nursery() as nursery:
        await nursery.start(handover.run_lifespan)
        nursery.start_soon(watch.run)
        nursery.start_soon(listener.run)
        yield Served(listener.port, listener, reception, handover, told, watch, quart)
        nursery.cancel_scope.cancel()
    assert len(watch) == 0
