import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.domain.http import Ready, Reply
from appliance.door.reply import LAST_CHUNK, Clock, chunk, render, render_stream_head
from tests.fakes.doors import Pieces

DATE = "date: Thu, 01 Jan 1970 00:00:01 GMT\r\n"


def test_the_date_is_written_once_a_second() -> None:
    now = iter([1.2, 1.9, 2.0])
    clock = Clock(lambda: next(now))
    assert clock.line() == DATE
    assert clock.line() == DATE
    assert clock.line() == DATE.replace("01 GMT", "02 GMT")


def test_a_reply_is_status_headers_framing_and_body() -> None:
    reply = Reply(200, [("content-type", "text/plain"), ("x-a", "é")], b"hello")
    assert render(reply, date=DATE, keep=True, http10=False, head_only=False) == (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-a: \xe9\r\n"
        + DATE.encode()
        + b"content-length: 5\r\n\r\nhello"
    )


def test_headers_that_are_ready_are_sent_with_the_others() -> None:
    ready = Ready([("x-b", "2"), ("x-c", "3")])
    head = render(Reply(200, [("x-a", "1")], b"", ready=ready), date=DATE, keep=True, http10=False, head_only=False)
    lines = b"HTTP/1.1 200 OK\r\nx-a: 1\r\nx-b: 2\r\nx-c: 3\r\n" + DATE.encode()
    assert head == lines + b"content-length: 0\r\n\r\n"
    stream = Reply(200, [("x-a", "1")], Pieces(), ready=ready)
    assert render_stream_head(stream, date=DATE, keep=True, http10=False).startswith(lines)


@pytest.mark.parametrize(
    ("keep", "http10", "said"),
    [(True, False, b""), (False, False, b"close"), (True, True, b"keep-alive"), (False, True, b"close")],
)
def test_the_connection_header_says_only_what_the_version_does_not(keep: bool, http10: bool, said: bytes) -> None:
    head = render(Reply(200), date="", keep=keep, http10=http10, head_only=False)
    assert (b"connection: " + said in head) == bool(said)
    assert b"connection" in head or not said


def test_a_head_reply_has_the_length_and_no_body() -> None:
    head = render(Reply(200, [], b"hello"), date="", keep=True, http10=False, head_only=True)
    assert head.endswith(b"content-length: 5\r\n\r\n")


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_has_no_length_either(status: int) -> None:
    assert b"content-length" not in render(Reply(status), date="", keep=True, http10=False, head_only=False)


def test_an_unknown_status_of_an_engine_is_passed_on() -> None:
    assert render(Reply(599), date="", keep=True, http10=False, head_only=False).startswith(b"HTTP/1.1 599 \r\n")


def test_a_stream_is_chunked_except_for_old_clients() -> None:
    stream = Reply(200, [], Pieces())
    assert b"transfer-encoding: chunked\r\n" in render_stream_head(stream, date=DATE, keep=True, http10=False)
    old = render_stream_head(stream, date=DATE, keep=True, http10=True)
    assert b"transfer-encoding" not in old
    assert b"connection: close\r\n" in old
    with pytest.raises(TypeError):
        render(stream, date="", keep=True, http10=False, head_only=False)


@given(st.lists(st.tuples(st.sampled_from(["x-a", "x-b"]), st.text(max_size=20)), max_size=5), st.binary(max_size=50))
def test_whatever_a_header_holds_another_parser_reads_one_reply(headers: list[tuple[str, str]], body: bytes) -> None:
    data = render(Reply(200, headers, body), date=DATE, keep=True, http10=False, head_only=False)
    head, _, rest = data.partition(b"\r\n\r\n")
    assert rest == body
    assert head.count(b"\r\n") == head.count(b"\n") == head.count(b"\r") == len(headers) + 2
    assert b"\0" not in head


@given(st.lists(st.binary(min_size=1, max_size=70_000), max_size=4))
def test_chunks_are_read_back_by_another_parser(pieces: list[bytes]) -> None:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(render_stream_head(Reply(200), date=DATE, keep=True, http10=False))
    client.receive_data(b"".join(chunk(piece) for piece in pieces) + LAST_CHUNK)
    got, event = b"", client.next_event()
    while not isinstance(event, h11.EndOfMessage):
        got += bytes(event.data) if isinstance(event, h11.Data) else b""
        event = client.next_event()
    assert got == b"".join(pieces)
