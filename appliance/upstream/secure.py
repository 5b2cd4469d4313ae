"""Connections to https model servers: each is an httpx client of its own, holding at most one socket.

httpcore's pool loses slots when requests are cancelled, so none is shared: the books are those of our own pool.
"""

import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import trio

from appliance.domain.targets import Address
from appliance.errors import ConnectFailed, ConnectionLost, ProtocolViolation, UpstreamTimeout
from appliance.http1.request import check_parts
from appliance.http1.response import Head
from appliance.upstream.connection import OutRequest
from appliance.upstream.deadlines import Countdown
from appliance.upstream.gaps import Gaps

_LIMITS = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None)


# Where distributions keep all authorities in one file. The binary was built on one of them and runs on the others.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, Red Hat
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # Alpine, others
)


def system_trust(bundles: Sequence[str] = _BUNDLES) -> ssl.SSLContext:
    """A context that trusts the system's certificate authorities. Loading them takes milliseconds: make one.

    `SSL_CERT_FILE` and `SSL_CERT_DIR` come first, then the places that OpenSSL was built with.

    Args:
        bundles: where else to look when none of these exists.
    """
    context = ssl.create_default_context()
    places = ssl.get_default_verify_paths()
    if not any((places.cafile, places.capath)):  # nothing is there
        found = next((bundle for bundle in bundles if Path(bundle).is_file()), None)
        if found is not None:
            context.load_verify_locations(found)
    return context


def open_client(
    context: ssl.SSLContext, transport: httpx.AsyncBaseTransport | None = None, proxy: str = ""
) -> httpx.AsyncClient:
    """An httpx client for one connection: no redirect, no cookie jar shared, no deadline of its own.

    Nothing of the environment is used: the only proxy is the one that is given.
    """
    return httpx.AsyncClient(
        verify=context,
        transport=transport,
        proxy=proxy or None,
        limits=_LIMITS,
        timeout=None,  # noqa: S113 - our own deadlines bound every step
        trust_env=False,
        follow_redirects=False,
    )


class SecureConnection:
    """HTTP/1.1 over TLS. The socket opens with the first exchange.

    Attributes:
        gaps: the pauses of the reply under way; the next one has its own.
    """

    def __init__(self, address: Address, client: httpx.AsyncClient) -> None:
        self._address = address
        self._client = client
        self._response: httpx.Response | None = None
        self._body: AsyncIterator[bytes] | None = None
        self._ended = False
        self.gaps = Gaps()
        self._countdown: Countdown | None = None  # of the exchange under way
        self._reading: trio.CancelScope | None = None  # of the last read
        self._socket: Any = None  # httpcore's stream of bytes below TLS

    @property
    def reusable(self) -> bool:
        """The last exchange ended cleanly, and the server lets us send another."""
        response = self._response
        if response is None or not self._ended or response.http_version == "HTTP/1.0":
            return False
        return "close" not in response.headers.get("connection", "").lower()

    @property
    def complete(self) -> bool:
        """The reply has arrived to its end."""
        return self._ended

    def take(self) -> bytes:
        """Nothing: httpx keeps what it has until `receive` asks."""
        return b""

    def stale(self) -> bool:
        """It was idle and is readable: that is the server's close."""
        stream = self._response.extensions.get("network_stream") if self._response is not None else None
        return stream is not None and bool(stream.get_extra_info("is_readable"))

    async def exchange(self, request: OutRequest, countdown: Countdown) -> Head:
        """Send a request and wait for the head of its reply.

        Raises:
            ConnectFailed: no connection, or the certificate is not accepted.
            ConnectionLost: the connection broke.
            ProtocolViolation: the reply is not HTTP.
            UpstreamTimeout: no connection or no head in time.
            ValueError: the request cannot be written down as HTTP.
        """
        check_parts(request.method, request.path, self._address.authority, request.headers)
        connect = countdown.deadlines.connect or None
        outgoing = httpx.Request(
            request.method,
            httpx.URL(
                scheme="https", host=self._address.host, port=self._address.port, raw_path=request.path.encode("ascii")
            ),
            headers=[("host", self._address.authority), *request.headers],
            content=request.body,
            extensions={"timeout": {"connect": connect}, "trace": self._trace},
        )
        self._response, self._body, self._ended = None, None, False
        self._countdown, self.gaps = countdown, Gaps()
        with _mapped(self._address, connect or 0.0, before_reply=True), countdown.within("first_byte"):
            self._response = await self._client.send(outgoing, stream=True)
        headers = [(name.lower(), value) for name, value in self._response.headers.multi_items()]
        return Head(self._response.status_code, headers)

    async def receive(self) -> bytes:
        """The next body bytes; b"" exactly at a complete end.

        Raises:
            ConnectionLost: the connection broke, or ended before the reply did.
            ProtocolViolation: the framing is wrong.
            UpstreamTimeout: silence for too long, or the total passed.
        """
        if self._ended or self._response is None or self._countdown is None:
            return b""
        body = self._body = self._body or self._response.aiter_raw()
        since = trio.current_time()
        with trio.CancelScope() as self._reading:
            with _mapped(self._address, 0.0, before_reply=False), self._countdown.within("between_bytes"):
                async for piece in body:
                    if piece:
                        if (pause := trio.current_time() - since) > self.gaps.notable:
                            self.gaps.saw(pause)
                        return piece
            self._ended = True
            return b""
        raise ConnectionLost("interrupted", before_reply=False)

    async def pump(self, taken: Callable[[bytes], bool]) -> None:
        """Give body bytes to `taken` as they arrive, until it returns False or the reply is complete.

        Raises:
            UpstreamError: as `receive`; and whatever `taken` raises.
        """
        while data := await self.receive():
            if not taken(data):
                return

    def interrupt(self) -> None:
        """Whoever waits for body bytes gets a `ConnectionLost` instead; harmless when nobody does."""
        if self._reading is not None:
            self._reading.cancel()

    async def aclose(self) -> None:
        """Close the socket and the client."""
        try:
            await self._abandon_body()
        finally:
            try:
                await self._client.aclose()
            finally:
                if self._socket is not None:
                    await self._socket.aclose()

    async def _trace(self, event: str, info: dict[str, Any]) -> None:
        """Keep hold of the socket: cancelled inside the TLS handshake, httpcore leaves it to the garbage collector."""
        if event == "connection.connect_tcp.complete":
            self._socket = info["return_value"]

    async def _abandon_body(self) -> None:
        """End an unfinished body.

        httpx reads through a tower of generators and closing the top one leaves the others to the garbage collector,
        which may close the socket much later. A cancelled read ends all of them at once.
        """
        if self._response is None or self._ended:
            return
        if self._body is not None:
            with trio.CancelScope() as scope:
                scope.cancel()
                try:
                    async for _ in self._body:
                        pass
                except httpx.HTTPError:
                    pass  # broken already, which is what was wanted
        await self._response.aclose()


@contextmanager
def _mapped(address: Address, connect: float, *, before_reply: bool) -> Iterator[None]:
    """Turn httpx's exceptions into ours."""
    try:
        yield
    except httpx.ConnectTimeout as error:
        raise UpstreamTimeout("connect", connect) from error
    except httpx.ProxyError as error:
        raise ConnectFailed(f"the proxy does not connect to {address}: {error}") from error
    except httpx.ConnectError as error:
        raise ConnectFailed(f"cannot connect to {address}: {error}") from error
    except httpx.RemoteProtocolError as error:
        # The only trace of an early end is in the words; httpx has one class for it and for garbage.
        if "disconnected" in str(error) or "closed connection" in str(error):
            raise ConnectionLost("the server closed the connection", before_reply=before_reply) from error
        raise ProtocolViolation(f"not an HTTP reply: {error}") from error
    except (httpx.ProtocolError, httpx.DecodingError) as error:
        raise ProtocolViolation(f"not an HTTP exchange: {error}") from error
    except (httpx.TransportError, httpx.StreamError) as error:
        raise ConnectionLost("the connection broke", before_reply=before_reply) from error


async def open_secure(address: Address, context: ssl.SSLContext) -> SecureConnection:
    """A connection that opens its socket with its first exchange."""
    return SecureConnection(address, open_client(context, proxy=address.proxy))
