import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.door.client_hello import server_name


def hello(name: str | None, *, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.maximum_version = newest
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def record(content: bytes) -> bytes:
    return b"\x16\x03\x01" + len(content).to_bytes(2) + content


HELLO = hello("gpubox.lan")


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_name_is_found(newest: ssl.TLSVersion) -> None:
    assert server_name(hello("gpubox.lan", newest=newest)) == "gpubox.lan"
    assert server_name(hello("GPUBOX.lan", newest=newest)) == "gpubox.lan"
    assert server_name(hello(None, newest=newest)) == ""


def test_every_part_of_a_hello_wants_more_and_what_follows_does_not_matter() -> None:
    for end in range(len(HELLO)):
        assert server_name(HELLO[:end]) is None
    assert server_name(HELLO + b"anything") == "gpubox.lan"


def test_a_hello_in_several_records_is_put_together() -> None:
    body = HELLO[5:]
    size = len(body) // 5 + 1  # with post-quantum keys, as since OpenSSL 3.5, a hello is three times as long
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    whole = b"".join(record(piece) for piece in pieces)
    assert server_name(whole) == "gpubox.lan"
    assert server_name(whole[:-1]) is None


@pytest.mark.parametrize("bad", [b"gpubox.la\xff", b"\x00" * 10, b"gpubox lan"])
def test_a_strange_name_is_a_name_that_nobody_has_or_none(bad: bytes) -> None:
    assert server_name(HELLO.replace(b"gpubox.lan", bad)) in {"", "\0" * 10, "gpubox lan"}


@pytest.mark.parametrize(
    "data",
    [
        record(b"\x02" + HELLO[6:]),  # another message
        record(b""),
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"".join(record(bytes([byte])) for byte in HELLO[5:25]),  # more records than anyone needs
        record(b"\x01\x00\x00\x04abcd"),
    ],
)
def test_what_is_no_hello_has_no_name_and_is_left_to_openssl(data: bytes) -> None:
    assert server_name(data) == ""


def test_a_hello_without_end_is_given_up() -> None:
    endless = b"\x16\x03\x01\xff\xff\x01\xff\xff\xff"
    assert server_name(endless) is None
    assert server_name(endless + bytes(16 * 1024)) == ""


@given(st.integers(5, len(HELLO) - 1), st.binary(min_size=1, max_size=4))
def test_no_damage_makes_it_fail(at: int, damage: bytes) -> None:
    server_name(HELLO[:at] + damage + HELLO[at + len(damage) :])


@given(st.binary(max_size=300))
def test_no_bytes_make_it_fail(data: bytes) -> None:
    server_name(data)
    server_name(record(b"\x01" + len(data).to_bytes(3) + data))
