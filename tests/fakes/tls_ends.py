"""Both ends of TLS connections over loopback: ours as it is, the client's with or without a library around it."""

import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from appliance.config.schema import Tls
from appliance.door.certificates import Certificates
from appliance.door.tls import HandshakeFailed, TlsTransport, handshake
from tests.fakes.pem_files import Authority

Client = trio.SSLStream[trio.SocketStream]


class Box:
    """Certificates, and the two ends of loopback connections to whoever has them."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory)
        self.certificates = self.load(self.authority.write("a", "a.lan"), self.authority.write("b", "b.lan"))

    def load(self, *pairs: Tls, http2: bool = False) -> Certificates:
        return Certificates(pairs, http2=http2, now=time.time)

    @asynccontextmanager
    async def ends(self, buffers: int = 0) -> AsyncIterator[tuple[socket.socket, trio.SocketStream]]:
        """A server's raw socket and a client's stream; what is still open at the end is closed."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            if buffers:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
            client = await trio.open_tcp_stream("127.0.0.1", listening.getsockname()[1])
            server, _ = listening.accept()
        server.setblocking(False)
        if buffers:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
        async with client:
            with server:
                yield server, client

    @asynccontextmanager
    async def connected(
        self, name: str = "a.lan", context: ssl.SSLContext | None = None, buffers: int = 0
    ) -> AsyncIterator[tuple[TlsTransport, Client]]:
        async with self.ends(buffers) as (sock, stream):
            client: Client = trio.SSLStream(stream, context or self.authority.client(), server_hostname=name)
            transport = await self.shake(sock, client)
            yield transport, client
            transport.close()

    async def shake(self, sock: socket.socket, client: Client) -> TlsTransport:
        found: list[TlsTransport] = []
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.do_handshake)
                found.append(await handshake(sock, self.certificates))
        return found[0]

    async def refusal(self, sock: socket.socket) -> str:
        with trio.fail_after(10), pytest.raises(HandshakeFailed) as caught:
            await handshake(sock, self.certificates)
        return str(caught.value)


class ByHand:
    """A client that says what a test wants it to say."""

    def __init__(
        self, stream: trio.SocketStream, context: ssl.SSLContext, name: str = "a.lan", *, bytewise: bool = False
    ) -> None:
        self._stream = stream
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._bytewise = bytewise
        self.session = context.wrap_bio(self._in, self._out, server_hostname=name)

    def hello(self) -> bytes:
        """The first message."""
        with pytest.raises(ssl.SSLWantReadError):
            self.session.do_handshake()
        return self._out.read()

    async def do_handshake(self, *, last_words: bool = True) -> None:
        while True:
            try:
                self.session.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self.flush()
                self._in.write(await self._stream.receive_some())
        if last_words:
            await self.flush()

    async def flush(self) -> None:
        data = self._out.read()
        step = 1 if self._bytewise else max(len(data), 1)
        for start in range(0, len(data), step):
            await self._stream.send_all(data[start : start + step])
            await trio.lowlevel.checkpoint()

    async def receive(self) -> bytes:
        while True:
            try:
                return self.session.read(65536)
            except ssl.SSLWantReadError:
                self._in.write(await self._stream.receive_some())
