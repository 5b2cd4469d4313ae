import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolViolation
from appliance.http1.response import HEAD_LIMIT, ResponseParser

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-A: B\r\n\r\nabc"
CHUNKED = b"HTTP/1.1 201 Made\r\ntransfer-encoding: chunked\r\n\r\n1;x=y\r\na\r\n2\r\nbc\r\n0\r\nt: v\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\n" + LENGTH
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nx: y\r\n\r\nabc"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"


def run(*pieces: bytes, eof: bool = False) -> tuple[ResponseParser, bytes]:
    parser = ResponseParser()
    body = b""
    for piece in pieces:
        parser.feed(piece)
        body += parser.take()
    if eof:
        parser.feed_eof()
    return parser, body


@pytest.mark.parametrize(
    ("wire", "status", "body"),
    [(LENGTH, 200, b"abc"), (CHUNKED, 201, b"abc"), (INTERIM, 200, b"abc"), (EMPTY, 204, b"")],
)
def test_a_framed_reply_is_the_same_whole_and_byte_by_byte(wire: bytes, status: int, body: bytes) -> None:
    for pieces in ([wire], [wire[i : i + 1] for i in range(len(wire))]):
        parser, got = run(*pieces)
        assert parser.head is not None
        assert (parser.head.status, got, parser.complete, parser.keep_alive) == (status, body, True, True)


def test_header_names_are_lower_case_in_order_and_trailers_and_interim_headers_are_not_among_them() -> None:
    assert run(INTERIM)[0].head.headers == [("content-length", "3"), ("x-a", "B")]  # type: ignore[union-attr]
    assert run(CHUNKED)[0].head.headers == [("transfer-encoding", "chunked")]  # type: ignore[union-attr]


@given(st.sampled_from([LENGTH, CHUNKED, INTERIM, EMPTY]), st.sets(st.integers(0, 160)), st.binary(max_size=8))
def test_however_the_bytes_are_cut_the_reply_is_the_same(wire: bytes, cuts: set[int], tail: bytes) -> None:
    data = wire + tail
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    parser, body = run(*(data[a:b] for a, b in itertools.pairwise(edges)))
    whole, whole_body = run(data)
    assert parser.complete
    assert (body, parser.head, parser.keep_alive) == (whole_body, whole.head, whole.keep_alive)


@pytest.mark.parametrize("tail", [b"X", b"HTTP/1.1 200 OK\r\n\r\n", LENGTH])
def test_bytes_after_a_complete_reply_leave_it_whole_and_the_connection_not_reusable(tail: bytes) -> None:
    for pieces in ([LENGTH + tail], [LENGTH, tail]):
        parser, body = run(*pieces)
        assert (body, parser.complete, parser.keep_alive) == (b"abc", True, False)


def test_a_server_that_says_close_or_speaks_1_0_is_not_asked_again() -> None:
    assert not run(LENGTH.replace(b"X-A: B", b"Connection: close"))[0].keep_alive
    assert not run(LENGTH.replace(b"1.1", b"1.0"))[0].keep_alive


def test_a_reply_without_framing_is_complete_when_the_server_closes() -> None:
    parser, body = run(UNTIL_CLOSE)
    assert not parser.complete
    parser.feed_eof()
    assert (body, parser.complete, parser.keep_alive) == (b"abc", True, False)


@pytest.mark.parametrize(
    "wire", [b"", LENGTH[:10], LENGTH[:-1], CHUNKED[:-2], UNTIL_CLOSE[:20], b"HTTP/1.1 100 C\r\n\r\n"]
)
def test_an_end_inside_the_reply_is_a_violation(wire: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        run(wire, eof=True)


@pytest.mark.parametrize(
    "wire",
    [
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nxx",
        b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ncontent-length: -3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 300 + b"\r\n",
        b"HTTP/1.1 200 OK\r\na: " + b"b" * HEAD_LIMIT + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 5000,
    ],
)
def test_what_is_not_a_reply_is_a_violation(wire: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        run(wire)


def test_a_head_or_trailer_that_never_ends_is_a_violation() -> None:
    for start in (b"HTTP/1.1 200 OK\r\na: ", CHUNKED[:-4]):
        with pytest.raises(ProtocolViolation):
            run(start, *([b"b" * 1024] * 100))


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with contextlib.suppress(ProtocolViolation):
        run(data, eof=True)


@given(st.lists(st.sampled_from([LENGTH, CHUNKED, INTERIM, EMPTY]), min_size=2, max_size=5), st.integers(1, 200))
def test_one_parser_reads_reply_after_reply_and_nothing_of_one_gets_into_the_next(wires: list[bytes], cut: int) -> None:
    parser = ResponseParser()
    for wire in wires:
        parser.restart()
        assert (parser.head, parser.complete, parser.started, parser.take()) == (None, False, False, b"")
        alone, body = run(wire)
        got = b""
        for piece in (wire[:cut], wire[cut:]):
            if piece:
                parser.feed(memoryview(piece))
            got += parser.take()
        assert (parser.head, got, parser.keep_alive) == (alone.head, body, True)


@pytest.mark.parametrize("wire", [LENGTH[:30], LENGTH + b"X", UNTIL_CLOSE, b"", LENGTH + LENGTH])
def test_a_restart_after_anything_else_starts_clean_too(wire: bytes) -> None:
    parser, _ = run(wire)
    parser.restart()
    parser.feed(CHUNKED)
    assert (parser.head and parser.head.status, parser.take(), parser.keep_alive) == (201, b"abc", True)


def test_a_body_nobody_took_does_not_get_into_the_next_reply() -> None:
    parser = ResponseParser()
    for _ in range(2):
        parser.feed(LENGTH)
        parser.restart()
    assert parser.take() == b""


def test_a_reply_nobody_asked_for_adds_nothing_to_the_body() -> None:
    parser = ResponseParser()
    parser.feed(LENGTH + LENGTH)
    assert (parser.take(), parser.complete, parser.keep_alive) == (b"abc", True, False)


def test_what_is_fed_may_be_overwritten_afterwards() -> None:
    parser = ResponseParser()
    for piece in (LENGTH[:20], LENGTH[20:-2], LENGTH[-2:]):
        buffer = bytearray(piece)
        parser.feed(memoryview(buffer))
        buffer[:] = b"?" * len(buffer)
    assert (parser.head and parser.head.headers[1], parser.take()) == (("x-a", "B"), b"abc")


def test_a_large_head_counts_against_the_limit_however_it_arrives() -> None:
    head = b"HTTP/1.1 200 OK\r\n" + b"".join(b"a%d: %s\r\n" % (i, b"b" * 1000) for i in range(70))
    wire = head + b"content-length: 0\r\n\r\n"
    for pieces in ([wire], [wire[:60_000], wire[60_000:]]):
        with pytest.raises(ProtocolViolation):
            run(*pieces)
    fine = wire.replace(b"b" * 1000, b"b" * 900)
    for pieces in ([fine], [fine[:60_000], fine[60_000:]]):
        assert run(*pieces)[0].keep_alive


def test_a_body_does_not_count_as_head() -> None:
    wire = b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n" + b"x" * 200_000
    assert run(wire)[0].keep_alive


_LIKE_BEFORE = st.builds(
    lambda length, body, more: b"HTTP/1.1 200 OK\r\ncontent-length: %b\r\n%b\r\n%b" % (length, more, body),
    st.sampled_from([b"0", b"3", b"03", b"12", b"+3", b"3 ", b" 3", b"", b"9" * 16, b"3\r\ncontent-length: 3"]),
    st.sampled_from([b"", b"abc", b"abcdefghijkl", b"abcX", b"\r\n\r\n12", b"abc" + LENGTH]),
    st.sampled_from([b"", b"x: content-length: 3\r\n", b"connection: close\r\n", b"transfer-encoding: chunked\r\n"]),
)


def _told(parser: ResponseParser, wire: bytes, *, eof: bool) -> object:
    try:
        parser.feed(wire)
        body = parser.take()
        if eof:
            parser.feed_eof()
    except ProtocolViolation as error:
        return str(error)
    return parser.head, body + parser.take(), parser.complete, parser.keep_alive, parser.started


@given(
    st.lists(_LIKE_BEFORE | st.sampled_from([LENGTH, CHUNKED, INTERIM, EMPTY]), min_size=2, max_size=6), st.booleans()
)
def test_a_reply_like_the_one_before_is_what_a_fresh_parser_says(wires: list[bytes], eof: bool) -> None:
    parser = ResponseParser()
    for wire in wires:
        parser.restart()
        assert _told(parser, wire, eof=eof) == _told(ResponseParser(), wire, eof=eof)


@given(st.integers(0, len(LENGTH)), st.binary(max_size=2), st.booleans())
def test_a_byte_that_differs_from_the_reply_before_is_seen(at: int, other: bytes, insert: bool) -> None:
    parser = ResponseParser()
    parser.feed(LENGTH)
    assert parser.take() == b"abc"
    parser.restart()
    wire = LENGTH[:at] + other + LENGTH[at if insert else at + 1 :]
    assert _told(parser, wire, eof=False) == _told(ResponseParser(), wire, eof=False)


def test_a_reply_like_the_one_before_in_pieces_and_then_whole_again() -> None:
    parser = ResponseParser()
    for _ in range(3):
        for pieces in (
            [LENGTH],
            [LENGTH],
            [LENGTH[:20], LENGTH[20:-1], LENGTH[-1:]],
            [LENGTH.replace(b"3", b"1", 1)[:-2]],
        ):
            parser.restart()
            body = b""
            for piece in pieces:
                assert not parser.complete
                parser.feed(memoryview(piece))
                body += parser.take()
            assert (parser.complete, parser.keep_alive, body) == (True, True, b"abc"[: len(body)])
            assert parser.head is not None
            assert parser.head.headers[0] == ("content-length", str(len(body)))
