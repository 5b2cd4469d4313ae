"""Every packet of the table, fed whole and in pieces."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import GatewayError
from appliance.http1.incoming import HeadLimits, find_head_end, parse_head
from tests.fakes.packets import ACCEPTED, HOSTS, LIMITS, LINES, REFUSED, REQUEST_LINES, TARGETS, cut, read

SMALL = sorted(name for name, (raw, _) in REFUSED.items() if len(raw) < 1000)


def refusal(pieces: list[bytes]) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        read(pieces)
    return caught.value


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_whole_with_its_status(name: str) -> None:
    raw, status = REFUSED[name]
    assert refusal([raw]).row.status == status


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_byte_by_byte(name: str) -> None:
    raw, status = REFUSED[name]
    assert refusal(cut(raw, range(len(raw)))).row.status == status


@pytest.mark.parametrize("name", SMALL)
def test_it_is_refused_wherever_it_is_cut_in_two(name: str) -> None:
    raw, status = REFUSED[name]
    for at in range(1, len(raw)):
        assert refusal(cut(raw, [at])).row.status == status, at


@pytest.mark.parametrize("name", REFUSED)
def test_the_message_says_whose_fault_it_is_and_quotes_nothing(name: str) -> None:
    error = refusal([REFUSED[name][0]])
    assert error.row.fault == "caller"
    assert re.fullmatch(r"[ -~]+\.", error.message)
    assert "evil" not in error.message
    assert "smuggled" not in error.message


@pytest.mark.parametrize("name", [*LINES, *TARGETS, *HOSTS, *REQUEST_LINES])
def test_the_whole_head_is_refused_even_if_nobody_looked_while_it_arrived(name: str) -> None:
    raw = REFUSED[name][0]
    with pytest.raises(GatewayError):
        parse_head(raw, LIMITS)


@pytest.mark.parametrize("at", [1, 100])
def test_a_tls_hello_is_told_that_the_port_speaks_plain_http(at: int) -> None:
    hello = REFUSED["TLS hello"][0]
    for buffer in (hello[:at], hello):
        with pytest.raises(GatewayError, match="this port speaks plain HTTP"):
            read([buffer])


@pytest.mark.parametrize(
    "start",
    [
        b"\x16",
        b"{",
        b"PRI",
        b" ",
        b"\n",
        b"get",
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\r\nA: b\rc",
        b"G\0",
        b"\r\r",
        b"\rG",
    ],
)
def test_what_can_be_no_head_is_refused_before_it_ends(start: bytes) -> None:
    for pieces in ([start], cut(start, range(len(start)))):
        assert refusal(pieces).row.status == 400


@pytest.mark.parametrize("name", ACCEPTED)
def test_no_start_of_a_good_head_is_refused(name: str) -> None:
    raw = ACCEPTED[name]
    for at in range(len(raw)):
        result = read([raw[:at]])
        assert result is None or at >= raw.index(b"\r\n\r\n")


def test_a_head_may_be_as_large_as_the_limit_and_not_a_byte_larger() -> None:
    head = ACCEPTED["GET"]
    for size, fits in ((len(head), True), (len(head) - 1, False)):
        limits = HeadLimits(head=size)
        if fits:
            assert find_head_end(bytearray(head), 0, limits) == len(head)
            assert find_head_end(bytearray(head[:-1]), 0, limits) == -1
            assert parse_head(head, limits).method == "GET"
            continue
        for part in (head, head[:-1]):
            with pytest.raises(GatewayError) as caught:
                find_head_end(bytearray(part), 0, limits)
            assert caught.value.code == "headers_too_large"
        with pytest.raises(GatewayError) as caught:
            parse_head(head, limits)
        assert caught.value.code == "headers_too_large"


def test_the_number_of_headers_and_the_target_are_limited_as_configured() -> None:
    head = b"GET /abc HTTP/1.1\r\nHost: box\r\nA: b\r\n\r\n"
    assert parse_head(head, HeadLimits(headers=2, target=4)).path == "/abc"
    for limits in (HeadLimits(headers=1), HeadLimits(target=3)):
        with pytest.raises(GatewayError) as caught:
            parse_head(head, limits)
        assert caught.value.code == "headers_too_large"


@pytest.mark.parametrize("name", ["CONNECT", "TRACE"])
def test_a_refused_method_says_what_is_allowed(name: str) -> None:
    assert refusal([REFUSED[name][0]]).extras == {"allow": "GET, POST"}


def test_java_is_told_how_to_speak_http_1() -> None:
    assert "HTTP_1_1" in refusal([REFUSED["h2c"][0]]).message


@given(st.binary(max_size=64))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for call in (lambda: read([data]), lambda: parse_head(data, LIMITS)):
        with contextlib.suppress(GatewayError):
            call()
