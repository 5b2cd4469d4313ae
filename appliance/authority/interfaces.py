"""The addresses of this machine, asked of the kernel by netlink (rtnetlink(7))."""

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_interface

from appliance.authority.subject import Interface

_ASK = struct.pack("=IHHIIB3x", 20, 22, 0x301, 1, 0, 0)  # RTM_GETADDR, all of them
_HEADER = struct.Struct("=IHHII")
_ADDRESS = struct.Struct("=BBBBI")  # family, length of the prefix, flags, scope, number of the interface
_ATTRIBUTE = struct.Struct("=HH")
_NEW, _DONE, _ERROR = 20, 3, 2
_WHOLE, _LOCAL, _FLAGS = 1, 2, 8  # attributes: IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS
_PASSING = 0x01 | 0x08 | 0x20 | 0x40  # temporary (privacy), refused as a duplicate, deprecated, not yet ours
_UNIVERSE, _SITE = 0, 200  # scopes that are reached from outside; of link-local ones a URL cannot say the interface
_FAMILIES = {int(socket.AF_INET): 4, int(socket.AF_INET6): 16}
_PATIENCE = 2.0  # seconds


def interfaces() -> list[Interface]:
    """Lasting addresses that others can reach, in order; none where the kernel does not say."""
    found: list[Interface] = []
    with suppress(OSError), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as asked:
        asked.settimeout(_PATIENCE)
        asked.send(_ASK)
        more = True
        while more:
            data = asked.recv(2**16)
            more = bool(data)
            for kind, body in _messages(data):
                if kind in (_DONE, _ERROR):
                    more = False
                elif kind == _NEW and (address := _read(body)) is not None:
                    found.append(address)
    return sorted(found, key=lambda one: (one.version, one))


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield kind, data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def _read(body: bytes) -> Interface | None:
    family, prefix, flags, scope, _ = _ADDRESS.unpack_from(body)
    values: dict[int, bytes] = {}
    at = _ADDRESS.size
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if length < _ATTRIBUTE.size:
            break
        values[kind] = body[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    if _FLAGS in values:
        (flags,) = struct.unpack("=I", values[_FLAGS])
    raw = values.get(_LOCAL) or values.get(_WHOLE)  # on a point-to-point link the second is the other end
    if raw is None or len(raw) != _FAMILIES.get(family) or flags & _PASSING or scope not in (_UNIVERSE, _SITE):
        return None
    return ip_interface((raw, prefix))
