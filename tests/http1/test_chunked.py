import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import GatewayError
from appliance.http1.chunked import ChunkedBody
from tests.fakes.packets import ACCEPTED, CHUNKS, cut

HEAD = b"POST / HTTP/1.1\r\nHost: box\r\nTransfer-Encoding: chunked\r\n\r\n"
LIMIT = 1 << 20
EXTENSIONS = st.sampled_from([b"", b"", b"", b";a", b";a=b;c", b';a="b;\\" \xe9"'])
TRAILERS = st.lists(st.sampled_from([b"A: b\r\n", b"C:\r\n", b"Digest:\t\xe9 \r\n"]), max_size=3)
BODIES = [raw.partition(b"\r\n\r\n")[2] for raw in [*CHUNKS.values(), ACCEPTED["chunk extensions and trailers"]]]
PIECES = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b";",
    b"=",
    b'"',
    b"0",
    b"5",
    b"f",
    b"0\r\n",
    b"1\r\nx\r\n",
    b"A: b\r\n",
]


def feed(pieces: list[bytes], limit: int = LIMIT) -> tuple[bytes, bytes, bool]:
    """The body, what was left of the bytes, and whether the end was seen."""
    decoder, buffer, body = ChunkedBody(limit), bytearray(), b""
    for number, piece in enumerate(pieces):
        buffer += piece
        del buffer[: decoder.feed(buffer)]
        if number % 3 == 0:
            body += decoder.take()
    return body + decoder.take(), bytes(buffer), decoder.complete


def refused(raw: bytes, limit: int = LIMIT) -> str:
    codes = set()
    for pieces in ([raw], cut(raw, range(len(raw)))):
        with pytest.raises(GatewayError) as caught:
            feed(pieces, limit)
        codes.add(caught.value.code)
    assert len(codes) == 1
    return codes.pop()


class Llhttp:
    """What llhttp makes of a chunked body."""

    def __init__(self, raw: bytes) -> None:
        self.body = b""
        self.complete = False
        httptools.HttpRequestParser(self).feed_data(HEAD + raw)

    def on_body(self, piece: bytes) -> None:
        self.body += piece

    def on_message_complete(self) -> None:
        self.complete = True


@st.composite
def encoded(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A body, and one of the ways to send it."""
    chunks = draw(st.lists(st.binary(min_size=1, max_size=40) | st.just(b"x" * 5000), max_size=8))
    wire = b""
    for chunk in [*chunks, b""]:
        size = draw(st.sampled_from([b"%x", b"%X", b"%04x"])) % len(chunk)
        wire += size + draw(EXTENSIONS) + b"\r\n" + (chunk + b"\r\n" if chunk else b"")
    return b"".join(chunks), wire + b"".join(draw(TRAILERS)) + b"\r\n"


@given(encoded(), st.sets(st.integers(1, 12000), max_size=8) | st.sets(st.integers(1, 100)), st.binary(max_size=8))
def test_any_body_in_any_chunks_and_pieces_is_itself_and_what_follows_stays(
    sent: tuple[bytes, bytes], cuts: set[int], tail: bytes
) -> None:
    body, wire = sent
    assert feed(cut(wire + tail, cuts)) == (body, tail, True)


@given(encoded())
def test_byte_by_byte_it_is_the_same_and_complete_only_with_the_last_byte(sent: tuple[bytes, bytes]) -> None:
    body, wire = sent
    assert feed([wire[at : at + 1] for at in range(len(wire))]) == (body, b"", True)
    assert not feed([wire[:-1]])[2]


@settings(max_examples=400)
@given(
    st.sampled_from(BODIES) | encoded().map(lambda sent: sent[1]),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), st.sampled_from(PIECES)), max_size=3),
)
def test_what_we_accept_llhttp_accepts_with_the_same_body(wire: bytes, changes: list[tuple[int, int, bytes]]) -> None:
    raw = wire
    for at, remove, piece in changes:
        place = at % (len(raw) + 1)
        raw = raw[:place] + piece + raw[place + remove :]
    try:
        body, rest, complete = feed([raw])
    except GatewayError:
        return
    theirs = Llhttp(raw[: len(raw) - len(rest)])
    assert theirs.complete is complete
    if complete:
        assert theirs.body == body


@given(st.binary(max_size=60), st.sets(st.integers(1, 60)))
def test_no_bytes_raise_anything_else_and_cuts_do_not_matter(data: bytes, cuts: set[int]) -> None:
    outcomes: list[object] = []
    for pieces in ([data], cut(data, cuts)):
        try:
            outcomes.append(feed(pieces))
        except GatewayError as error:
            outcomes.append(error.code)
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("name", CHUNKS)
def test_a_bad_body_is_refused(name: str) -> None:
    assert refused(CHUNKS[name].partition(b"\r\n\r\n")[2]) == "malformed_request"


def test_the_limit_counts_body_and_not_framing_and_is_applied_before_the_data_comes() -> None:
    assert feed([b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"], 5) == (b"abcde", b"", True)
    assert refused(b"3\r\nabc\r\n3\r\n", 5) == "request_too_large"
    assert refused(b"6\r\n", 5) == "request_too_large"
    assert refused(b"ffffffffffffffff\r\n", 5) == "request_too_large"
    assert feed([b"0\r\n\r\n"], 0) == (b"", b"", True)


def test_one_byte_chunks_are_fine_but_bytes_that_are_nearly_all_framing_are_not() -> None:
    assert feed([b"1\r\nx\r\n" * 50_000, b"0\r\n\r\n"]) == (b"x" * 50_000, b"", True)
    with pytest.raises(GatewayError, match="nearly all chunk sizes"):
        feed([b"0000000000000001\r\nx\r\n" * 50_000])


def test_extensions_are_bounded_in_each_chunk_and_in_all() -> None:
    full = b"1;" + b"a" * 255 + b"\r\nx\r\n"
    assert feed([full * 64, b"0\r\n\r\n"]) == (b"x" * 64, b"", True)
    assert refused(full * 64 + b"0;a\r\n\r\n") == "malformed_request"
    assert refused(b"1;" + b"a" * 256 + b"\r\nx\r\n") == "malformed_request"


@pytest.mark.parametrize(
    "start", [b"1;" + b"a" * 300, b"0" * 17, b"0\r\nA: " + b"b" * 8192, b"g", b"1\n", b"1;\0", b"1\rx"]
)
def test_a_line_that_never_ends_or_cannot_be_one_is_refused_before_its_end(start: bytes) -> None:
    assert refused(start) == "malformed_request"


def test_trailers_may_be_as_large_as_the_limit() -> None:
    lines = [b"A: b\r\n"] * 31
    last = b"C:" + b"d" * (8192 - 31 * 6 - 4) + b"\r\n"
    wire = b"0\r\n" + b"".join([*lines, last]) + b"\r\n"
    for pieces in ([wire], cut(wire, range(len(wire)))):
        assert feed(pieces) == (b"", b"", True)
    assert refused(wire.replace(b"C:", b"C: ")) == "malformed_request"


def test_after_the_end_nothing_is_consumed() -> None:
    decoder, buffer = ChunkedBody(9), bytearray(b"0\r\n\r\nGET / HTTP/1.1\r\n")
    assert decoder.feed(buffer) == 5
    assert decoder.complete
    assert decoder.feed(buffer[5:]) == 0


def test_large_and_small_chunks_keep_their_order() -> None:
    chunks = [b"a" * 5000, b"b", b"c" * 4096, b"d" * 4095, b"e", b"f" * 9000]
    wire = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    assert feed([wire]) == (b"".join(chunks), b"", True)


def test_the_buffer_can_change_size_after_a_refusal() -> None:
    decoder, buffer = ChunkedBody(9), bytearray(b"5\r\nhello!")
    with pytest.raises(GatewayError):
        decoder.feed(buffer)
    buffer += b"x"
