import contextlib
from urllib.parse import urlsplit

import h11
import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import GatewayError
from appliance.http1.incoming import RequestHead, check_handshake, find_head_end, parse_head, skip_empty_lines
from tests.fakes.packets import ACCEPTED, LIMITS, REFUSED, cut, read

SDK = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: gpubox.lan:8000\r\nAccept-Encoding: gzip, deflate\r\n"
    b"Connection: keep-alive\r\nUser-Agent: OpenAI/Python 2.0\r\nX-Stainless-Lang: python\r\n"
    b"Authorization: Bearer sk-x\r\nContent-Length: 12\r\n\r\n"
)
PIECES = [
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\t",
        b":",
        b",",
        b"#",
        b"?",
        b"%",
        b"/",
        b"\xe9",
        b"\x0b",
        b"\x7f",
        b"A: b\r\n",
    ),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: box\r\n", b"Connection: upgrade\r\n"),
    *(b"Upgrade: websocket\r\n", b"Expect: 100-continue\r\n", b"HTTP/1.0", b"http://box", b"CONNECT ", b"\r\n\r\n"),
]
HEADS = [SDK, *(raw[: raw.index(b"\r\n\r\n") + 4] for name, raw in ACCEPTED.items() if name != "empty lines first")]
CHANGES = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 3), st.sampled_from(PIECES) | st.binary(max_size=2)), max_size=4
)


def accepted(name: str) -> tuple[RequestHead, bytes]:
    result = read([ACCEPTED[name]])
    assert result is not None
    return result[:2]


def head_of(*lines: bytes, start: bytes = b"GET / HTTP/1.1") -> RequestHead:
    return parse_head(b"\r\n".join([start, b"Host: box", *lines, b"", b""]), LIMITS)


def changed(raw: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for at, remove, piece in changes:
        place = at % (len(raw) + 1)
        raw = raw[:place] + piece + raw[place + remove :]
    return raw


class Llhttp:
    """What llhttp makes of a head."""

    def __init__(self, raw: bytes) -> None:
        self.target = b""
        self.headers: list[tuple[str, str]] = []
        parser = httptools.HttpRequestParser(self)
        with contextlib.suppress(httptools.HttpParserUpgrade):
            parser.feed_data(raw)
        self.method = parser.get_method().decode()

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode().lower(), value.decode("latin-1").strip(" \t")))


def test_a_request_of_the_sdk_is_read() -> None:
    assert parse_head(SDK, LIMITS) == RequestHead(
        method="POST",
        path="/v1/chat/completions",
        query="",
        http10=False,
        headers=[
            ("host", "gpubox.lan:8000"),
            ("accept-encoding", "gzip, deflate"),
            ("connection", "keep-alive"),
            ("user-agent", "OpenAI/Python 2.0"),
            ("x-stainless-lang", "python"),
            ("authorization", "Bearer sk-x"),
            ("content-length", "12"),
        ],
        length=12,
        chunked=False,
        keep_alive=True,
        expects_continue=False,
        upgrade="",
    )


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_good_request_is_the_same_however_it_is_cut(name: str) -> None:
    raw = ACCEPTED[name]
    whole = read([raw])
    assert whole is not None
    assert read(cut(raw, range(len(raw)))) == whole
    for at in range(1, len(raw)):
        assert read(cut(raw, [at])) == whole


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_request_that_follows_stays_in_the_buffer(name: str) -> None:
    whole, followed = read([ACCEPTED[name]]), read([ACCEPTED[name] + SDK])
    assert whole is not None
    assert followed == (whole[0], whole[1], whole[2] + SDK)


@pytest.mark.parametrize(
    "name", ["POST", "length with zeros", "GET with a body", "chunked", "chunk extensions and trailers"]
)
def test_the_body_is_what_was_sent(name: str) -> None:
    head, body = accepted(name)
    assert body == b"hello"
    assert (head.length, head.chunked) == ((0, True) if "chunk" in name else (5, False))


@pytest.mark.parametrize(
    ("name", "path", "query"),
    [
        ("absolute", "/v1/models", "a=b"),
        ("absolute without a path", "/", "a"),
        ("query", "/v1/models", "a=b&c=%20?d"),
        ("encoded path", "/v1/models/a%2Fb", ""),
        ("two slashes", "//a/b", ""),
        ("OPTIONS *", "*", ""),
    ],
)
def test_a_target_becomes_path_and_query(name: str, path: str, query: str) -> None:
    head, _ = accepted(name)
    assert (head.path, head.query) == (path, query)


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"close", False),
        (b"1.1", b"Close", False),
        (b"1.1", b"keep-alive, close", False),
        (b"1.1", b"close\t,te", False),
        (b"1.1", b"closed", True),
        (b"1.0", b"", False),
        (b"1.0", b"keep-alive", True),
        (b"1.0", b"te, Keep-Alive", True),
        (b"1.0", b"keep-alive, close", False),
    ],
)
def test_version_and_connection_say_whether_the_connection_stays(version: bytes, connection: bytes, kept: bool) -> None:
    assert head_of(b"Connection: " + connection, start=b"GET / HTTP/" + version).keep_alive is kept


def test_several_connection_lines_count_together() -> None:
    assert not head_of(b"Connection: keep-alive", b"Connection: close").keep_alive


def test_only_a_body_on_1_1_is_waited_for() -> None:
    expect = b"expect: 100-continue"
    assert head_of(expect, b"content-length: 1").expects_continue
    assert head_of(expect, b"transfer-encoding: chunked").expects_continue
    assert not head_of(expect).expects_continue
    assert not head_of(expect, b"content-length: 0").expects_continue
    assert not head_of(expect, b"content-length: 1", start=b"POST / HTTP/1.0").expects_continue


def test_an_upgrade_counts_when_connection_names_it() -> None:
    upgrade, connection = b"Upgrade: WebSocket", b"Connection: keep-alive, Upgrade"
    assert head_of(upgrade, connection).upgrade == "websocket"
    assert head_of(upgrade).upgrade == ""
    assert head_of(connection).upgrade == ""
    assert head_of(upgrade, connection, start=b"GET / HTTP/1.0").upgrade == ""
    assert head_of(b"Upgrade: TLS/1.3, websocket", connection).upgrade == "tls/1.3"


def test_a_body_beside_an_unknown_upgrade_is_still_a_body() -> None:
    head = head_of(b"Upgrade: foo", b"Connection: upgrade", b"Content-Length: 5")
    assert (head.upgrade, head.length) == ("foo", 5)


def test_values_lose_their_outer_blanks_and_nothing_else() -> None:
    assert accepted("tab in a value")[0].headers[-1] == ("a", "b\tc")
    assert accepted("empty values")[0].headers[1:] == [("a", ""), ("b", ""), ("c", "")]
    assert accepted("no blank after the colon")[0].headers[-1] == ("a", "b:c")
    assert accepted("obs-text")[0].headers[-1] == ("a", "\xc3\xa4\xff\x80\xa0")


def test_http_1_0_is_said_and_needs_no_host() -> None:
    assert accepted("1.0 without Host")[0].http10
    assert not accepted("GET")[0].http10


def test_empty_lines_before_a_request_are_skipped_and_counted() -> None:
    assert skip_empty_lines(bytearray(b"\r\n\r\nGET")) == 4
    assert skip_empty_lines(bytearray(b"\r\n\r")) == 2
    assert skip_empty_lines(bytearray(b"")) == 0
    assert skip_empty_lines(bytearray(b"\r\n"), 6) == 2
    with pytest.raises(GatewayError):
        skip_empty_lines(bytearray(b"\r\n"), 8)


def test_the_search_goes_on_where_it_stopped() -> None:
    end = len(SDK)
    for searched in range(end):
        assert find_head_end(bytearray(SDK + b"body"), searched, LIMITS) == end
    assert find_head_end(bytearray(b""), 0, LIMITS) == -1


@settings(max_examples=400)
@given(st.sampled_from(HEADS), CHANGES)
def test_a_changed_head_is_refused_or_means_the_same_to_llhttp_and_h11(
    head: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    raw = changed(head, changes)
    try:
        ours = parse_head(raw, LIMITS)
    except GatewayError:
        return
    theirs = Llhttp(raw)
    assert (ours.method, ours.headers) == (theirs.method, theirs.headers)
    target = theirs.target.decode()
    if target.startswith("/"):
        assert (ours.path, ours.query) == (target.partition("?")[0], target.partition("?")[2])
    elif target != "*":
        assert (ours.path, ours.query) == (urlsplit(target).path or "/", urlsplit(target).query)
    server = h11.Connection(h11.SERVER)
    server.receive_data(raw)
    event = server.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method.decode(), event.target.decode()) == (ours.method, target)
    theirs_too = [(name.decode(), value.decode("latin-1").lower()) for name, value in event.headers]
    assert theirs_too == [(name, value.lower()) for name, value in ours.headers]  # h11 lowers "CHUNKED"


@settings(max_examples=400)
@given(
    st.sampled_from([*ACCEPTED.values(), *(raw for raw, _ in REFUSED.values() if len(raw) < 1000)]),
    CHANGES,
    st.sets(st.integers(1, 300), max_size=6),
)
def test_however_changed_bytes_are_cut_the_outcome_is_the_same(
    raw: bytes, changes: list[tuple[int, int, bytes]], cuts: set[int]
) -> None:
    data = changed(raw, changes)
    outcomes: list[object] = []
    for pieces in ([data], cut(data, cuts), cut(data, range(len(data)))):
        try:
            outcomes.append(read(pieces))
        except GatewayError as error:
            outcomes.append(error.row.status)
    assert outcomes[0] == outcomes[1] == outcomes[2]


HANDSHAKE = {
    "Host": "x",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


@pytest.mark.parametrize(
    ("line", "change"),
    [
        ("GET / HTTP/1.0", {}),
        ("POST / HTTP/1.1", {"Content-Length": "0"}),
        ("GET / HTTP/1.1", {"Sec-WebSocket-Key": "short"}),
        ("GET / HTTP/1.1", {"Sec-WebSocket-Version": "8"}),
    ],
)
def test_what_is_no_websocket_handshake_is_refused_as_one(line: str, change: dict[str, str]) -> None:
    def head(first: str, headers: dict[str, str]) -> RequestHead:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return parse_head(f"{first}\r\n{lines}\r\n".encode(), LIMITS)

    check_handshake(head("GET / HTTP/1.1", HANDSHAKE))
    with pytest.raises(GatewayError, match="RFC 6455"):
        check_handshake(head(line, HANDSHAKE | change))
