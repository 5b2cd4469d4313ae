"""Thousands of hostile packets beside live streams: the process stays, and no stream is disturbed."""

import itertools
import json
import os
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterable, Iterator

import httpx
import pytest
import trio
import trio.lowlevel

from tests.fakes.packets import REFUSED
from tests.fakes.product import KEY, Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
PACKETS = 10_000
SECURE_PACKETS = 3_000  # each is a TLS handshake too
ATTACKERS = 16
STREAMS = 8
TOKENS = 200

Pieces = list[bytes]

_WEBSOCKET = (
    b"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
# Each of these has ended a bare Hypercorn process: as one packet, and cut where the door has handed over already.
KILLERS: dict[str, Pieces] = {
    "a byte behind a websocket handshake": [_WEBSOCKET + b"X"],
    "a byte after a websocket handshake": [_WEBSOCKET, b"X"],
    "h2c with a path that is not text": [_PREFACE + b"\0\0\x12\1\5\0\0\0\1\x82\x86\4\2/\xff\x41\1x"],
    "an h2c upgrade": [
        b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
    ],
    "h2c data after an early answer": [_PREFACE + b"\0\0\1\1\4\0\0\0\1\x83" + b"\0\0\4\0\0\0\0\0\1abcd" * 20],
    "a host that is not text": [b"GET /x HTTP/1.1\r\nHost: \xff\r\n\r\n"],
    "no path": [b"GET ? HTTP/1.1\r\nHost: x\r\n\r\n"],
    "CONNECT": [b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n"],
    "noise": [os.urandom(300)],
    "a page, then noise": [b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n", os.urandom(300)],
    "an upload that nobody reads": [b"POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n", b"x" * 60_000],
    "a stream that nobody reads": [
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
        + KEY.encode()
        + b"\r\nContent-Length: 0\r\n\r\n"
    ],
}

_DATA, _HEADERS, _PRIORITY, _RESET, _SETTINGS, _PUSH, _PING, _GOAWAY, _WINDOW, _CONTINUATION = range(10)
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4


def frame(kind: int, stream: int = 0, payload: bytes = b"", flags: int = 0) -> bytes:
    """One HTTP/2 frame (RFC 9113 4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def fields(*pairs: tuple[bytes, bytes]) -> bytes:
    """A header block of literals: no table, no Huffman (RFC 7541 6.2.2)."""
    return b"".join(b"\0%c%b%c%b" % (len(name), name, len(value), value) for name, value in pairs)


def request(
    stream: int, method: bytes = b"GET", path: bytes = b"/x", *more: tuple[bytes, bytes], flags: int = _END_STREAM
) -> bytes:
    names = ((b":method", method), (b":scheme", b"https"), (b":authority", b"x"), (b":path", path))
    return frame(_HEADERS, stream, fields(*names, *more), flags | _END_HEADERS)


_CHAT = b"/v1/chat/completions"
_SOCKET = request(1, b"CONNECT", b"/x", (b":protocol", b"websocket"), (b"sec-websocket-version", b"13"), flags=0)
# What is sent after a TLS handshake that chose h2, behind the preface.
FRAMES: dict[str, Pieces] = {
    "a path that is not text": [request(1, path=b"/\xff")],
    "an authority that is not text": [request(1, b"GET", b"/", (b"host", b"\xff"))],
    "an empty path": [request(1, path=b"")],
    "a header with a line end": [request(1, b"GET", b"/healthz", (b"a", b"b\r\nc: d"))],
    "an upload that is answered early": [
        request(1, b"POST", _CHAT, flags=0),
        *[frame(_DATA, 1, b"x" * 4000)] * 10,
    ],
    "an upload to nowhere, past the window": [
        request(1, b"POST", b"/page", flags=0),
        *[frame(_DATA, 1, b"x" * 16384)] * 6,
    ],
    "an upload that claims a length": [
        request(1, b"POST", _CHAT, (b"content-length", b"5"), flags=0) + frame(_DATA, 1, b"x" * 50)
    ],
    "a websocket and garbage": [_SOCKET, frame(_DATA, 1, os.urandom(200))],
    "a websocket, garbage in one packet, and its end": [_SOCKET + frame(_DATA, 1, b"X", _END_STREAM)],
    "another protocol": [request(1, b"CONNECT", b"/x", (b":protocol", b"\xff"), flags=0), frame(_DATA, 1, b"X")],
    "CONNECT": [request(1, b"CONNECT")],
    "a stream that is reset": [
        request(1, b"POST", _CHAT, (b"authorization", b"Bearer " + KEY.encode()), flags=0)
        + frame(_DATA, 1, b'{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}', _END_STREAM),
        frame(_RESET, 1, b"\0\0\0\x08"),
    ],
    "requests reset at once": [b"".join(request(n) + frame(_RESET, n, b"\0\0\0\x08") for n in range(1, 401, 2))],
    "more requests than are allowed": [b"".join(request(n, flags=0) for n in range(1, 601, 2))],
    "resets of nothing": [frame(_RESET, 7, b"\0\0\0\0") * 50],
    "pings": [frame(_PING, 0, b"12345678") * 500],
    "settings": [frame(_SETTINGS, 0, b"\0\4\0\0\xff\xff") * 300],
    "settings that are forbidden": [frame(_SETTINGS, 0, b"\0\4\xff\xff\xff\xff")],
    "settings of a wrong size": [frame(_SETTINGS, 0, b"\0\4\0")],
    "no window to answer in": [frame(_SETTINGS, 0, b"\0\4\0\0\0\0") + request(1, path=b"/metrics")],
    "a window too large": [frame(_WINDOW, 0, b"\x7f\xff\xff\xff") * 2],
    "a window of nothing": [request(1, flags=0) + frame(_WINDOW, 1, b"\0\0\0\0")],
    "a window of a stream that is over": [request(1), frame(_WINDOW, 1, b"\0\0\0\1") * 50],
    "priorities in a circle": [frame(_PRIORITY, 1, b"\0\0\0\1\0") + frame(_PRIORITY, 3, b"\0\0\0\5\0") * 50],
    "header tables out of range": [frame(_HEADERS, 1, b"\xff\xff\xff\xff\x0f", _END_HEADERS)],
    "Huffman nonsense": [frame(_HEADERS, 1, b"\x82\x86\x41\x8f" + b"\xff" * 15, _END_HEADERS)],
    "a header table of 4 GiB": [frame(_HEADERS, 1, b"\x3f\xe1\xff\xff\xff\x0f", _END_HEADERS)],
    "a header bomb": [frame(_HEADERS, 1, b"\x40\1a\x7f\xa1\x1e" + b"b" * 4000 + b"\xbe" * 8000, _END_HEADERS)],
    "headers without an end": [frame(_HEADERS, 1, b"\0\1a\1b"), *[frame(_CONTINUATION, 1, b"\0\1a\1b" * 100)] * 50],
    "headers with another frame between": [frame(_HEADERS, 1, b"\0\1a\1b") + frame(_PING, 0, b"12345678")],
    "data on stream 0": [frame(_DATA, 0, b"x")],
    "data on a stream that never was": [frame(_DATA, 9, b"x")],
    "an even stream": [request(2)],
    "streams in the wrong order": [request(9) + request(3)],
    "a push": [frame(_PUSH, 1, b"\0\0\0\2\x82", _END_HEADERS)],
    "padding longer than the frame": [frame(_DATA, 1, b"\xff", 8)],
    "a goodbye, then a request": [frame(_GOAWAY, 0, b"\0\0\0\0\0\0\0\0") + request(1)],
    "a frame of an unknown kind": [frame(200, 3, os.urandom(100)) * 20 + request(1)],
    "a frame too large": [b"\xff\xff\xff\0\0\0\0\0\1" + b"x" * 20_000],
    "half a frame": [request(1)[:11]],
    "noise": [os.urandom(500)],
}
SECURE: dict[str, Pieces] = {
    **{name: [_PREFACE + pieces[0], *pieces[1:]] for name, pieces in FRAMES.items()},
    "no preface": [os.urandom(100)],
    "HTTP/1.1 after all": [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"],
    "half a preface": [_PREFACE[:9]],
    "nothing at all": [],
}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    engine = runtime("m", "--tokens", str(TOKENS), "--token-delay", "0.02")
    with product(tmp_path_factory.mktemp("box"), engine) as running:
        running.ready("m")
        yield running


@pytest.fixture(scope="module")
def secure_box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    engine = runtime("m", "--tokens", str(TOKENS), "--token-delay", "0.02")
    with product(tmp_path_factory.mktemp("secure"), engine, "write_stall = '2s'\ndrain = '5s'", http2=True) as running:
        running.ready("m")
        yield running


def careless(*protocols: str) -> ssl.SSLContext:
    """An attacker does not look at certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(list(protocols))
    return context


async def send_and_leave(stream: trio.abc.Stream, sock: trio.SocketStream, pieces: Pieces, number: int) -> None:
    """Send, look at what comes for a moment, and leave: politely, with a reset, or in the middle."""
    try:
        for piece in pieces:
            await stream.send_all(piece)
            await trio.lowlevel.checkpoint()
        if number % 3:
            with trio.move_on_after(0.05):
                await stream.receive_some(4096)
        if number % 2:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    except trio.BrokenResourceError:
        pass
    finally:
        await trio.aclose_forcefully(stream)


async def attack(port: int, pieces: Pieces, number: int) -> None:
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
    except OSError:
        return
    await send_and_leave(stream, stream, pieces, number)


async def attack_secure(port: int, pieces: Pieces, number: int) -> None:
    """The same over TLS; every eighth handshake is left half done, or goes on with something else."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    if number % 8 == 0:
        hello, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = careless("h2").wrap_bio(hello, out)
        with pytest.raises(ssl.SSLWantReadError):
            session.do_handshake()
        greeting = out.read()
        ways = [[greeting[: len(greeting) // 2]], [greeting, os.urandom(100)], [greeting], [os.urandom(200)], pieces]
        await send_and_leave(stream, stream, ways[number // 8 % len(ways)], number)
        return
    secure = trio.SSLStream(stream, careless("h2"), server_hostname="box", https_compatible=True)
    with trio.fail_after(30):
        await secure.do_handshake()
    assert secure.selected_alpn_protocol() == "h2"
    await send_and_leave(secure, stream, pieces, number)


def whole(answer: str) -> None:
    """Every token in its place."""
    assert answer.count('"content":"') >= TOKENS, answer[-300:]
    assert "data: [DONE]\n\n" in answer


BODY = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}


async def one_stream(port: int) -> None:
    """A whole streamed answer, byte for byte."""
    body = json.dumps(BODY).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {KEY}\r\n"
    got = b""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        while piece := await stream.receive_some(65536):
            got += piece
    assert got.startswith(b"HTTP/1.1 200"), got[:300]
    whole(got.decode())
    assert got.endswith(b"0\r\n\r\n")


async def one_secure_stream(box: Product, *, http2: bool) -> None:
    async with httpx.AsyncClient(verify=box.verify, http2=http2, timeout=60) as client:
        reply = await client.post(f"{box.url}/v1/chat/completions", json=BODY, headers=box.headers)
    assert (reply.status_code, reply.http_version) == (200, "HTTP/2" if http2 else "HTTP/1.1")
    whole(reply.text)


async def beside_live_streams(
    attacks: Iterable[Callable[[], Awaitable[None]]], streams: list[Callable[[], Awaitable[None]]]
) -> None:
    """Make all attacks, some at a time; meanwhile each of the streams runs over and over, and at least once."""
    over = trio.Event()
    waiting = iter(attacks)

    async def attacker() -> None:
        for one in waiting:
            await one()

    async def watcher(stream: Callable[[], Awaitable[None]]) -> None:
        await stream()
        while not over.is_set():
            await stream()

    async with trio.open_nursery() as nursery:
        for stream in streams:
            nursery.start_soon(watcher, stream)
        async with trio.open_nursery() as attackers:
            for _ in range(ATTACKERS):
                attackers.start_soon(attacker)
        over.set()


async def nothing_is_left(box: Product, pid: int) -> None:
    """The same process, no request and no connection but the one that asks, and nothing in the log."""

    def clean() -> bool:
        text = box.metrics()
        return 'appliance_requests_in_flight{model="m"} 0.0' in text and "\nappliance_client_connections 1.0\n" in text

    await trio.to_thread.run_sync(lambda: box.until(clean, 30))
    assert (box.process.poll(), box.process.pid) == (None, pid)
    assert "Traceback" not in box.log.read_text()


async def test_ten_thousand_hostile_packets_disturb_no_stream(box: Product) -> None:
    pid = box.process.pid
    refused = [[packet] for packet, _ in REFUSED.values()]
    packets = enumerate(itertools.islice(itertools.cycle([*KILLERS.values(), *refused]), PACKETS))
    attacks = (lambda n=n, p=p: attack(box.port, p, n) for n, p in packets)
    await beside_live_streams(attacks, [lambda: one_stream(box.port)] * STREAMS)
    await nothing_is_left(box, pid)


async def test_hostile_frames_and_handshakes_disturb_no_stream_either(secure_box: Product) -> None:
    box, pid = secure_box, secure_box.process.pid
    packets = enumerate(itertools.islice(itertools.cycle(SECURE.values()), SECURE_PACKETS))
    attacks = (lambda n=n, p=p: attack_secure(box.port, p, n) for n, p in packets)
    one, two = (lambda: one_secure_stream(box, http2=False)), (lambda: one_secure_stream(box, http2=True))
    await beside_live_streams(attacks, [one, two] * (STREAMS // 2))
    await nothing_is_left(box, pid)
