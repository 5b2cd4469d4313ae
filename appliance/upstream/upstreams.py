"""The one way to send a request to a model server."""

import ssl
from dataclasses import replace

import trio

from appliance.domain.http import Headers
from appliance.domain.targets import Address, Endpoint
from appliance.errors import ConnectFailed, ConnectionLost, ProtocolViolation
from appliance.http1.response import Head
from appliance.upstream.connection import Connection, OutRequest, open_plain
from appliance.upstream.deadlines import Countdown, Deadlines
from appliance.upstream.pool import Lease, Pool
from appliance.upstream.secure import open_secure, system_trust

__all__ = ["OutRequest", "UpstreamReply", "Upstreams"]

_SWEEP = 1.0  # seconds between two looks at the idle connections of all pools
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_OURS = frozenset({"host", "content-length", "accept-encoding"})


class UpstreamReply:
    """A reply whose body is still arriving. Whoever gets it calls `aclose`, also when cancelled.

    Attributes:
        status: HTTP status.
        headers: names in lower case, without those that concern this connection only.
    """

    def __init__(self, head: Head, lease: Lease, countdown: Countdown) -> None:
        self.status = head.status
        self.headers = _end_to_end(head.headers)
        self._lease = lease
        self._countdown = countdown
        self._ended = False

    async def receive(self) -> bytes:
        """The next body bytes; b"" exactly at a complete end, and again after it.

        Being cancelled closes the connection, as any error does.

        Raises:
            ConnectionLost: the connection broke, or ended before the reply did; or this was closed before.
            ProtocolViolation: the framing is wrong.
            UpstreamTimeout: stage "between_bytes" or "total".
        """
        if self._ended:
            return b""
        connection = self._lease.connection
        if connection is None:
            raise ConnectionLost("this reply was closed before its end", before_reply=False)
        try:
            with self._countdown.within("between_bytes"):
                data = await connection.receive()
        except BaseException:
            await self._lease.discard()
            raise
        if not data:
            self._ended = True
            await self._lease.finish()
        return data

    async def read(self, limit: int) -> bytes:
        """The rest of the body.

        Args:
            limit: most bytes to accept.

        Raises:
            ProtocolViolation: there are more; the connection is closed.
            UpstreamError: as `receive`.
        """
        pieces: list[bytes] = []
        size = 0
        while data := await self.receive():
            size += len(data)
            if size > limit:
                await self._lease.discard()
                raise ProtocolViolation(f"the reply is larger than {limit} bytes")
            pieces.append(data)
        return b"".join(pieces)

    async def aclose(self) -> None:
        """Let go of the connection; before the end of the body that closes it, and the engine stops working.

        Safe to call twice and while cancelled; takes two seconds at most.
        """
        await self._lease.finish()


class Upstreams:
    """The connections to all model servers.

    Args:
        ssl_context: whom to trust for https; the system's certificate authorities when absent.
    """

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None) -> None:
        self._ssl_context = ssl_context
        self._pools: dict[tuple[Address, int, float], Pool] = {}
        self._swept = 0.0
        self._closed = False

    def __repr__(self) -> str:
        return f"<Upstreams {list(self._pools.values())}>"

    async def send(
        self,
        endpoint: Endpoint,
        request: OutRequest,
        deadlines: Deadlines,
        *,
        max_connections: int = 256,
        idle_close: float = 5.0,
    ) -> UpstreamReply:
        """Send a request and wait for the head of the reply.

        Args:
            endpoint: where to, and with which credential.
            request: what; framing, Host and the credential are added.
            deadlines: how long each part may take.
            max_connections: most connections to this address; past it the request waits.
            idle_close: seconds after which the server closes idle connections.

        Raises:
            ConnectFailed: nothing was sent.
            ConnectionLost: the connection broke.
            ProtocolViolation: the reply is not HTTP.
            UpstreamTimeout: a deadline passed.
            ValueError: the request cannot be written down as HTTP.
        """
        await self._sweep()
        if self._closed:
            raise ConnectFailed("no more connections: closing down")
        countdown = Countdown(deadlines)
        pool = self._pool(endpoint.address, max_connections, idle_close)
        lease, head = await pool.begin(_prepare(endpoint, request), countdown)
        return UpstreamReply(head, lease, countdown)

    async def aclose(self) -> None:
        """Close what is idle; exchanges still under way close theirs when they end. No request is sent any more."""
        self._closed = True
        for pool in list(self._pools.values()):
            await pool.aclose()

    def _pool(self, address: Address, cap: int, idle_close: float) -> Pool:
        """The pool of an address. The limits are part of the key, so that a changed one starts anew."""
        address = replace(address, prefix="")
        key = (address, cap, idle_close)
        pool = self._pools.get(key)
        if pool is None:

            async def connect(countdown: Countdown) -> Connection:
                if address.scheme == "https":
                    return await open_secure(address, self._trust())
                return await open_plain(address, countdown)

            pool = self._pools[key] = Pool(str(address), connect, cap=cap, idle_close=idle_close)
        return pool

    def _trust(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            self._ssl_context = system_trust()
        return self._ssl_context

    async def _sweep(self) -> None:
        """Now and then close what expired, and drop the pools of addresses that nobody uses any more."""
        now = trio.current_time()
        if now - self._swept < _SWEEP:
            return
        self._swept = now
        for key, pool in list(self._pools.items()):
            await pool.expire()
            if pool.empty and self._pools.get(key) is pool:
                del self._pools[key]


def _prepare(endpoint: Endpoint, request: OutRequest) -> OutRequest:
    """The request as it goes out."""
    credential = endpoint.credential
    dropped = _OURS | _HOP_BY_HOP | ({"authorization"} if credential else set())
    headers = [(name, value) for name, value in request.headers if name.lower() not in dropped]
    headers.append(("accept-encoding", "identity"))
    if credential:
        headers.append(("authorization", f"Bearer {credential.reveal}"))
    return replace(request, path=endpoint.address.prefix + request.path, headers=headers)


def _end_to_end(headers: Headers) -> Headers:
    """Without the headers that concern one connection only, and those that Connection names."""
    named = {part.strip().lower() for name, value in headers if name == "connection" for part in value.split(",")}
    return [(name, value) for name, value in headers if name not in _HOP_BY_HOP and name not in named]
