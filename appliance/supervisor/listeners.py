"""Whose port is it? Any process of the machine can take a loopback port between our choice and the child's bind.

Before a prompt or a key goes to a port of a child, the socket that listens there must be in the hands of the child's
tree: `/proc/net/tcp` names the listening sockets by number, `/proc/PID/fd` says who holds which.
"""

import ipaddress
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from appliance.supervisor.proc import Member

_LISTEN = "0A"
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Listener:
    """One listening TCP socket.

    Attributes:
        address: it is bound to; an IPv4 address that IPv6 wraps is unwrapped.
        port: it is bound to.
        inode: the socket's number.
    """

    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int
    inode: int


def parse(text: str) -> list[Listener]:
    """The listening sockets in the text of `/proc/net/tcp` or `tcp6`; lines that are none are passed over. Pure."""
    found: list[Listener] = []
    for line in text.splitlines()[1:]:
        with suppress(ValueError, IndexError):
            fields = line.split()
            if fields[3] == _LISTEN:
                digits, _, port = fields[1].partition(":")
                found.append(Listener(_address(digits), int(port, 16), int(fields[9])))
    return found


def reached(listeners: Iterable[Listener], host: str, port: int) -> list[Listener]:
    """Those that a connection to `host` and `port` can end at. Pure."""
    target = ipaddress.ip_address(host)
    return [
        row
        for row in listeners
        if row.port == port
        and (
            row.address == target or (row.address.is_unspecified and (row.address.version == 6 or target.version == 4))
        )
    ]


def foreign(host: str, port: int, members: Iterable[Member]) -> str | None:
    """Why nothing may be sent to this port; None when whoever listens there is one of `members`.

    Blocks for a few milliseconds. The processes must share our network.

    Args:
        host: a numeric address.
        port: that the child was told to listen on.
        members: the child's tree.
    """
    there = reached([row for name in ("tcp", "tcp6") for row in parse(_text(name))], host, port)
    if not there:
        return f"nobody listens on port {port} yet"
    held = {inode for member in members for inode in _sockets(member.pid)}
    if all(row.inode in held for row in there):
        return None
    return f"port {port} is held by a process that is not ours"


def _address(digits: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    # Words of four bytes, each in the machine's own order; every machine this runs on is little-endian.
    raw = bytes.fromhex(digits)
    address = ipaddress.ip_address(b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4)))
    return getattr(address, "ipv4_mapped", None) or address


def _text(name: str) -> str:
    try:
        return (_PROC / "net" / name).read_text("ascii", "replace")
    except OSError:  # no IPv6 here
        return ""


def _sockets(pid: int) -> set[int]:
    found: set[int] = set()
    with suppress(OSError):  # gone, or not ours to look at
        for entry in os.scandir(_PROC / str(pid) / "fd"):
            with suppress(OSError, ValueError):
                target = os.readlink(entry.path)  # noqa: PTH115 - not a path but "socket:[123]"
                if target.startswith("socket:["):
                    found.add(int(target[8:-1]))
    return found
