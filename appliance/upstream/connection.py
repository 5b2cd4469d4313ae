"""One HTTP/1.1 connection to a model server, over TCP or a unix socket."""

from dataclasses import dataclass, field
from typing import Protocol

import trio

from appliance.domain.http import Headers
from appliance.domain.targets import Address
from appliance.errors import ConnectFailed, ConnectionLost, ProtocolViolation, UpstreamError
from appliance.http1.request import render_head
from appliance.http1.response import Head, ResponseParser
from appliance.upstream.deadlines import Countdown

_RECEIVE = 64 * 1024


@dataclass(frozen=True, slots=True)
class OutRequest:
    """A request to a model server.

    Attributes:
        method: upper case.
        path: under the server's root, query included.
        headers: without framing, Host and accept-encoding, which are added.
        body: all of it.
    """

    method: str
    path: str
    headers: Headers = field(default_factory=list)
    body: bytes = field(default=b"", repr=False)  # a prompt; never in a log


class Connection(Protocol):
    """What a pool holds: it carries one exchange at a time."""

    @property
    def reusable(self) -> bool:
        """The last exchange ended cleanly, and the server lets us send another."""
        ...

    def stale(self) -> bool:
        """It was idle, and the server has closed it or sent something unasked."""
        ...

    async def exchange(self, request: OutRequest, countdown: Countdown) -> Head:
        """Send a request and wait for the head of its reply.

        Raises:
            UpstreamError: any kind; the connection is of no use afterwards.
        """
        ...

    async def receive(self) -> bytes:
        """The next body bytes; b"" exactly at a complete end.

        Raises:
            UpstreamError: any kind; the connection is of no use afterwards.
        """
        ...

    async def aclose(self) -> None:
        """Close the socket."""
        ...


class PlainConnection:
    """HTTP/1.1 over a socket that is open already."""

    def __init__(self, stream: trio.SocketStream, authority: str) -> None:
        self._stream = stream
        self._authority = authority
        self._parser = ResponseParser()
        self._sent = False  # the whole request is with the kernel

    @property
    def reusable(self) -> bool:
        """The last exchange ended cleanly, and the server lets us send another."""
        return self._sent and self._parser.keep_alive

    def stale(self) -> bool:
        """It was idle and is readable: that is the server's close, or bytes nobody asked for."""
        return self._stream.socket.is_readable()

    async def exchange(self, request: OutRequest, countdown: Countdown) -> Head:
        """Send a request and wait for the head of its reply.

        Raises:
            ConnectionLost: the connection broke.
            ProtocolViolation: the reply is not HTTP.
            UpstreamTimeout: no head in time.
            ValueError: the request cannot be written down as HTTP.
        """
        head = render_head(request.method, request.path, self._authority, request.headers, len(request.body))
        self._parser = ResponseParser()
        self._sent = False
        with countdown.within("first_byte"):
            return await self._duplex(head + request.body)

    async def _duplex(self, data: bytes) -> Head:
        """Write and read at once: a server may answer (413, 401) and close before it has read the body."""
        problem: UpstreamError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, data)
            try:
                while self._parser.head is None:
                    await self._read()
            except UpstreamError as error:  # raised outside the nursery, which would wrap it in a group
                problem = error
            nursery.cancel_scope.cancel()
        if problem is not None:
            raise problem
        if self._parser.head is None:  # pragma: no cover - the loop above ends with a head or a problem
            raise ProtocolViolation("no head")
        return self._parser.head

    async def _write(self, data: bytes) -> None:
        """A failed write is not reported: reading tells whether there was a reply, and what broke."""
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        self._sent = True

    async def _read(self) -> None:
        parser = self._parser
        try:
            data = await self._stream.receive_some(_RECEIVE)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionLost("the connection was reset", before_reply=not parser.started) from error
        if data:
            parser.feed(bytes(data))
            return
        try:
            parser.feed_eof()
        except ProtocolViolation as error:
            words = "inside the reply" if parser.started else "before any reply"
            raise ConnectionLost(
                f"the server closed the connection {words}", before_reply=not parser.started
            ) from error

    async def receive(self) -> bytes:
        """The next body bytes; b"" exactly at a complete end.

        Raises:
            ConnectionLost: the connection broke, or ended before the reply did.
            ProtocolViolation: the framing is wrong.
        """
        while True:
            if data := self._parser.take():
                return data
            if self._parser.complete:
                return b""
            await self._read()

    async def aclose(self) -> None:
        """Close the socket."""
        await self._stream.aclose()


async def open_plain(address: Address, countdown: Countdown) -> PlainConnection:
    """Connect to a "unix" or "http" address.

    Raises:
        ConnectFailed: nothing listens there, or the name is unknown.
        UpstreamTimeout: stage "connect" or "total".
    """
    try:
        with countdown.within("connect"):
            if address.scheme == "unix":
                stream = await trio.open_unix_socket(address.host)
            else:
                stream = await trio.open_tcp_stream(address.host, address.port)  # trio sets TCP_NODELAY itself
    except (OSError, UnicodeError) as error:
        raise ConnectFailed(f"cannot connect to {address}: {_cause(error)}") from error
    return PlainConnection(stream, address.authority)


def _cause(error: BaseException) -> str:
    """The system's own words; trio hides them one level down when it tried several addresses."""
    inner = error.__cause__
    if isinstance(inner, BaseExceptionGroup):
        return _cause(inner.exceptions[0])
    if isinstance(inner, OSError):
        return _cause(inner)
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
