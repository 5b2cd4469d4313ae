"""The least that a proxy in Python and Trio can do: the yardstick for what ours does beyond that.

Both ways through llhttp, the model's name peeked at, the key hashed, one task and one kept connection upstream for each
client; no limits, log, metrics, usage, deadlines or errors. `python -m bench.bare PORT UPSTREAM`.
"""

import hashlib
import socket
import sys
from contextlib import suppress

import httptools
import msgspec
import trio

_READ = 65536  # bytes


class _Peeked(msgspec.Struct):
    model: str = ""
    stream: bool = False


_PEEK = msgspec.json.Decoder(_Peeked)


class _Message:
    """What llhttp tells about the message under way."""

    def __init__(self) -> None:
        self.body: list[bytes] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep it."""
        self.headers.append((name, value))

    def on_body(self, piece: bytes) -> None:
        """Keep it."""
        self.body.append(piece)

    def on_message_complete(self) -> None:
        """It is whole."""
        self.complete = True


async def _pass(source: socket.socket, target: socket.socket, *, request: bool) -> bool:
    """One message, piece by piece as it comes; False when there is none."""
    message = _Message()
    parser = httptools.HttpRequestParser(message) if request else httptools.HttpResponseParser(message)
    while True:
        try:
            data = source.recv(_READ)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(source)
            continue
        if not data:
            return False
        parser.feed_data(data)
        if request and message.complete:
            for name, value in message.headers:
                if name.lower() == b"authorization":
                    hashlib.sha256(value).digest()
            _PEEK.decode(b"".join(message.body))
        while data:
            try:
                data = data[target.send(data) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(target)
        if message.complete:
            return True


async def _serve(client: socket.socket, upstream: int) -> None:
    with client, socket.create_connection(("127.0.0.1", upstream)) as server, suppress(OSError):
        for end in (client, server):
            end.settimeout(0)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while await _pass(client, server, request=True) and await _pass(server, client, request=False):
            pass


async def _listen(port: int, upstream: int) -> None:
    with socket.create_server(("127.0.0.1", port), backlog=4096) as listener:
        listener.settimeout(0)
        async with trio.open_nursery() as nursery:
            while True:
                await trio.lowlevel.wait_readable(listener)
                with suppress(BlockingIOError):
                    while True:
                        nursery.start_soon(_serve, listener.accept()[0], upstream)


if __name__ == "__main__":
    trio.run(_listen, int(sys.argv[1]), int(sys.argv[2]))
