import socket

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from appliance.door.body import Body
from appliance.door.transport import PlainTransport
from appliance.errors import GatewayError
from appliance.http1.incoming import HeadLimits, parse_head


class Wire:
    """Bytes that arrive one piece at a time; then the client leaves."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.sent = b""

    async def receive(self, most: int = 65536) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self.pieces:
            return b""
        piece = self.pieces.pop(0)
        if len(piece) > most:
            self.pieces.insert(0, piece[most:])
        return piece[:most]

    async def send(self, data: bytes) -> None:
        self.sent += data


class LeftError(Exception):
    pass


async def lost() -> None:
    raise LeftError


def body(headers: str, wire: Wire, buffer: bytes = b"", seconds: float = 5) -> tuple[Body, bytearray]:
    head = parse_head(f"POST / HTTP/1.1\r\nhost: x\r\n{headers}\r\n".encode(), HeadLimits())
    held = bytearray(buffer)
    return Body(head, held, wire, seconds, lost), held  # type: ignore[arg-type]


@given(st.binary(max_size=300), st.binary(max_size=20), st.data())
def test_a_sized_body_is_what_it_is_however_it_arrives(content: bytes, behind: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(content)))
    step = data.draw(st.integers(1, 50))
    rest = content[cut:]
    pieces = [rest[at : at + step] for at in range(0, len(rest), step)]
    early = content[:cut] + (behind if cut == len(content) else b"")
    reader, held = body(f"content-length: {len(content)}\r\n", Wire(*pieces), early)
    assert trio.run(reader.read, 300) == content
    assert bytes(held) == (behind if cut == len(content) else b"")
    assert reader.skip()
    assert trio.run(reader.read, 300) == b""


async def test_a_chunked_body_leaves_what_is_behind_it() -> None:
    reader, held = body("transfer-encoding: chunked\r\n", Wire(b"3\r\nab", b"c\r\n0\r\n\r\nGET"))
    assert not reader.skip()
    assert await reader.read(3) == b"abc"
    assert bytes(held) == b"GET"
    assert reader.skip()


@pytest.mark.parametrize(
    ("headers", "arrives"),
    [("content-length: 4\r\n", b""), ("transfer-encoding: chunked\r\n", b"4\r\nabcd\r\n0\r\n\r\n")],
)
async def test_a_body_over_the_limit_is_refused(headers: str, arrives: bytes) -> None:
    reader, _ = body(headers, Wire(arrives))
    with pytest.raises(GatewayError) as caught:
        await reader.read(3)
    assert caught.value.code == "request_too_large"
    assert not reader.skip()


async def test_a_body_that_does_not_arrive_in_time_is_a_timeout() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    head = parse_head(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n", HeadLimits())
    with pytest.raises(GatewayError) as caught:
        await Body(head, bytearray(b"ab"), PlainTransport(ours), 0.1, lost).read(10)
    assert caught.value.code == "request_timeout"
    ours.close()
    theirs.close()


@pytest.mark.parametrize("headers", ["content-length: 4\r\n", "transfer-encoding: chunked\r\n"])
async def test_a_client_that_leaves_half_way_is_told_of_once(headers: str) -> None:
    reader, _ = body(headers, Wire(b"1"))
    with pytest.raises(LeftError):
        await reader.read(10)


async def test_a_client_that_waits_is_told_to_go_on_once_and_only_when_nothing_has_come() -> None:
    wire = Wire(b"abc")
    reader, _ = body("content-length: 3\r\nexpect: 100-continue\r\n", wire)
    assert await reader.read(10) == b"abc"
    assert wire.sent == b"HTTP/1.1 100 Continue\r\n\r\n"
    eager = Wire(b"c")
    reader, _ = body("content-length: 3\r\nexpect: 100-continue\r\n", eager, b"ab")
    assert await reader.read(10) == b"abc"
    assert eager.sent == b""


async def test_a_body_that_nobody_reads_is_skipped_when_it_is_all_there() -> None:
    reader, held = body("content-length: 3\r\n", Wire(), b"abcGET")
    assert reader.skip()
    assert bytes(held) == b"GET"
    assert not body("content-length: 3\r\n", Wire(), b"ab")[0].skip()
    assert body("", Wire())[0].skip()
