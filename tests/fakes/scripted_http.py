"""A model server that replays scripts: one script for each connection, the last one again for all further ones."""

import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import trio

from appliance.domain.targets import Address, Endpoint

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def reply(status: int = 200, body: bytes = b"", *headers: str) -> bytes:
    """A whole reply with a content-length."""
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Link:
    """The server's end of one connection."""

    def __init__(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream], server: "ScriptedHttp") -> None:
        self.stream = stream
        self._server = server
        self._buffer = b""

    async def request(self) -> bytes:
        """Read one whole request; b"" when the client has gone."""
        while b"\r\n\r\n" not in self._buffer:
            if not await self._more():
                return b""
        head, _, rest = self._buffer.partition(b"\r\n\r\n")
        length = next((int(x.split(b":")[1]) for x in head.split(b"\r\n") if x.startswith(b"content-length")), 0)
        while len(rest) < length:
            if not await self._more():
                return b""
            rest = self._buffer.partition(b"\r\n\r\n")[2]
        self._buffer = rest[length:]
        whole = head + b"\r\n\r\n" + rest[:length]
        self._server.requests.append(whole)
        return whole

    async def head(self) -> bytes:
        """Read until the head is whole, and leave the body alone."""
        while b"\r\n\r\n" not in self._buffer:
            if not await self._more():
                return b""
        return self._buffer.partition(b"\r\n\r\n")[0]

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            await self.stream.send_all(piece)

    async def gone(self) -> None:
        """Wait until the client closes."""
        while await self._more():
            pass

    def reset(self) -> None:
        """Close with a RST."""
        assert isinstance(self.stream, trio.SocketStream)
        self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.socket.close()

    async def _more(self) -> bool:
        data = await self.stream.receive_some(65536)
        self._buffer += data
        return bool(data)


Script = Callable[[Link], Awaitable[None]]


def always(answer: bytes) -> Script:
    """Answer every request with the same bytes."""

    async def script(link: Link) -> None:
        while await link.request():
            await link.send(answer)

    return script


def once(*pieces: bytes) -> Script:
    """Answer one request, then close."""

    async def script(link: Link) -> None:
        if await link.request():
            await link.send(*pieces)

    return script


def by_path(answers: dict[str, bytes]) -> Script:
    """Answer by path; 404 for any other."""

    async def script(link: Link) -> None:
        while got := await link.request():
            await link.send(answers.get(got.split(b" ")[1].decode(), reply(404)))

    return script


class ScriptedHttp:
    """Listens on loopback, or on a unix socket when given a path.

    Attributes:
        requests: every whole request, in order.
        accepted: connections so far.
        open: connections right now.
    """

    def __init__(self, *scripts: Script, path: Path | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._scripts: Sequence[Script] = scripts
        self._path = path
        self._tls = tls
        self.requests: list[bytes] = []
        self.accepted = 0
        self.open = 0

    async def __aenter__(self) -> Self:
        sock = trio.socket.socket(socket.AF_UNIX if self._path else socket.AF_INET, socket.SOCK_STREAM)
        await sock.bind(str(self._path) if self._path else ("127.0.0.1", 0))
        sock.listen(128)
        if self._path:
            self.address = Address("unix", str(self._path))
        elif self._tls:
            self.address = Address("https", "localhost", sock.getsockname()[1])
        else:
            self.address = Address("http", "127.0.0.1", sock.getsockname()[1])
        self.endpoint = Endpoint(self.address)
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        self._nursery.start_soon(trio.serve_listeners, self._serve, [trio.SocketListener(sock)])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._nursery.cancel_scope.cancel()
        await self._manager.__aexit__(kind, error, trace)

    async def closed(self) -> None:
        """Wait until every connection has ended."""
        while self.open:
            await trio.sleep(0.005)

    async def _serve(self, stream: trio.SocketStream) -> None:
        script = self._scripts[min(self.accepted, len(self._scripts) - 1)]
        self.accepted += 1
        self.open += 1
        try:
            carrier = (
                trio.SSLStream(stream, self._tls, server_side=True, https_compatible=True) if self._tls else stream
            )
            async with stream:
                await script(Link(carrier, self))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.open -= 1
