import socket
import struct

import pytest

from appliance.authority.interfaces import _read, interfaces


def message(family: int, prefix: int, scope: int, address: bytes, flags: int = 0) -> bytes:
    body = struct.pack("=BBBBI", family, prefix, 0, scope, 1)
    body += struct.pack("=HH", 4 + len(address), 1) + address
    return body + struct.pack("=HHI", 8, 8, flags)


def test_the_kernel_answers() -> None:
    found = interfaces()
    assert all(not one.ip.is_loopback and not one.ip.is_link_local for one in found)
    assert len(set(found)) == len(found)


def test_an_address_has_its_network() -> None:
    assert str(_read(message(2, 24, 0, bytes([10, 1, 2, 3])))) == "10.1.2.3/24"
    assert str(_read(message(10, 64, 0, bytes.fromhex("fd" + "00" * 14 + "01")))) == "fd00::1/64"


@pytest.mark.parametrize(
    "body",
    [
        message(2, 8, 254, bytes([127, 0, 0, 1])),  # of this host alone
        message(10, 64, 253, bytes(16)),  # of one link
        message(10, 64, 0, bytes(16), flags=0x01),  # for some hours
        message(2, 24, 0, bytes(3)),
        message(17, 24, 0, bytes(4)),
    ],
)
def test_what_others_cannot_rely_on_is_left_out(body: bytes) -> None:
    assert _read(body) is None


def test_a_kernel_that_says_nothing_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", refused)
    assert interfaces() == []
