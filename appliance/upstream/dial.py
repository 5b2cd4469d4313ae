"""A fresh socket to a model server, over TCP or a unix socket."""

import contextlib
import os
import socket

import trio

from appliance.domain.targets import Address

_SEND_BUFFER = 1024 * 1024  # bytes; unix sockets do not grow theirs as TCP does. The system may allow less
_BACKLOG_PAUSE = 0.005  # seconds between two tries to get into a full backlog
_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)  # 25 on Linux; Python names it from 3.12 on


async def dial(address: Address) -> socket.socket:
    """Connect to a "unix" or "http" address. The socket does not block, and is the caller's to close.

    Raises:
        OSError: nothing listens there, or the name is unknown.
        UnicodeError: the name is none.
    """
    return await (_unix(address.host) if address.scheme == "unix" else _tcp(address.host, address.port))


async def _tcp(host: str, port: int) -> socket.socket:
    family = _literal(host)
    if family is None:
        stream = await trio.open_tcp_stream(host, port)  # tries every address of a name, and sets TCP_NODELAY
        with contextlib.suppress(OSError):  # back to the system's own: trio's 16 KiB makes long prompts slow
            stream.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, 0)
        sock = socket.socket(fileno=stream.socket.detach())
        sock.settimeout(0)
        return sock
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(0)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(BlockingIOError):
            sock.connect((host, port))
        await trio.lowlevel.wait_writable(sock)
        _raise_if(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    except BaseException:
        sock.close()
        raise
    return sock


def _literal(host: str) -> socket.AddressFamily | None:
    """The family of an address that needs no looking up, which is how most model servers are written down."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, host)
            return family
    return None


async def _unix(path: str) -> socket.socket:
    """Trio's own takes a server with a full backlog for one that has answered."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        while True:
            try:
                sock.connect(path)
            except BlockingIOError:  # nothing tells when there is room again
                await trio.sleep(_BACKLOG_PAUSE)
            else:
                return sock
    except BaseException:
        sock.close()
        raise


def _raise_if(error: int) -> None:
    if error:
        raise OSError(error, os.strerror(error))
