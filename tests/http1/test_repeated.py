import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import GatewayError
from appliance.http1.incoming import HeadLimits, RequestHead, parse_head
from appliance.http1.repeated import Heads

LIMITS = HeadLimits(head=256, headers=9)


def head(length: str, *, more: str = "", name: str = "Content-Length") -> bytes:
    return f"POST /v1/x HTTP/1.1\r\nHost: a\r\n{name}: {length}\r\nX-Key: k\r\n{more}\r\n".encode("latin-1")


def outcome(read: Heads | None, raw: bytes) -> RequestHead | str:
    """What is said of a head, by somebody with a memory or without one."""
    try:
        return parse_head(raw, LIMITS) if read is None else read.read(raw)
    except GatewayError as error:
        return f"{error.code} {error}"


_LENGTHS = st.sampled_from(
    [
        "1",
        "2",
        "0",
        "00",
        "007",
        "17",
        "9" * 15,
        "1" + "0" * 14,
        "9" * 16,
        "",
        " 3 ",
        "3,3",
        "+4",
        "-4",
        "٣",
        "x",
        "1\r\n",
    ]
) | st.integers(0, 10**16).map(str)
_MORE = st.sampled_from(
    [
        "",
        "expect: 100-continue\r\n",
        "Content-Length: 2\r\n",
        "x: content-length: 7\r\n",
        "transfer-encoding: chunked\r\n",
        "connection: upgrade\r\nupgrade: websocket\r\n",
        "connection: close\r\n",
        "y: " + "z" * 170 + "\r\n",
    ]
)
_HEADS = st.builds(
    lambda length, more, name: head(length.encode("utf-8").decode("latin-1"), more=more, name=name),
    _LENGTHS,
    _MORE,
    st.sampled_from(["Content-Length", "content-length", "X-Length"]),
)
_OTHERS = st.sampled_from([b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n"])


@given(st.lists(_HEADS | _OTHERS, min_size=1, max_size=6))
def test_with_a_memory_every_head_means_what_it_means_without(heads: list[bytes]) -> None:
    memory = Heads(LIMITS)
    for raw in heads:
        assert outcome(memory, raw) == outcome(None, raw)


@given(_HEADS, st.integers(0, 255), st.integers(0, 120), st.booleans())
def test_one_byte_that_differs_is_seen(raw: bytes, byte: int, at: int, insert: bool) -> None:
    memory = Heads(LIMITS)
    outcome(memory, raw)
    other = raw[:at] + bytes([byte]) + raw[at if insert else at + 1 :]
    assert outcome(memory, other) == outcome(None, other)


def test_a_part_of_the_head_before_is_not_taken_for_it() -> None:
    raw = head("12")
    start, end = raw.split(b"12")
    for other in (raw[:-2], raw[2:], start + end, start, end, start[:-2] + end):
        memory = Heads(LIMITS)
        memory.read(raw)
        assert outcome(memory, other) == outcome(None, other)


def test_the_same_bytes_are_read_once_and_another_length_keeps_what_is_known() -> None:
    memory = Heads(LIMITS)
    first = memory.read(head("12"))
    first.known["who"] = "me"
    assert memory.read(head("12")) is first
    longer = memory.read(head("345"))
    assert (longer.length, longer.headers[1], longer.known) == (345, ("content-length", "345"), {"who": "me"})
    assert first.length == 12
    assert memory.read(head("345")) is longer
    assert memory.read(head("345", more="x: y\r\n")).known == {}


def test_a_longer_number_does_not_get_past_the_limit_of_the_head() -> None:
    raw = head("1")
    memory = Heads(HeadLimits(head=len(raw)))
    assert memory.read(raw).length == 1
    with pytest.raises(GatewayError, match="larger than"):
        memory.read(head("10"))


def test_a_large_head_is_not_kept() -> None:
    memory = Heads(HeadLimits())
    raw = head("1", more="x: " + "y" * 5000 + "\r\n")
    assert memory.read(raw) is not memory.read(raw)
