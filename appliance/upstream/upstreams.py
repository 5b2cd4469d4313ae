"""The one way to send a request to a model server."""

import ssl
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

import trio

from appliance.domain.targets import Address, Endpoint
from appliance.errors import ConnectFailed, ConnectionLost, ProtocolViolation
from appliance.http1.response import Head
from appliance.sockets.readiness import Readiness
from appliance.upstream.connection import Connection, OutRequest, Shared, open_plain
from appliance.upstream.deadlines import Countdown, Deadlines
from appliance.upstream.gaps import Gaps
from appliance.upstream.outgoing import Outgoing, end_to_end
from appliance.upstream.pool import Lease, Pool, Taken
from appliance.upstream.secure import open_secure, system_trust

__all__ = ["OutRequest", "UpstreamReply", "Upstreams"]

_SWEEP = 1.0  # seconds between two looks at the idle connections of all pools
_ROUTES = 1024  # endpoints remembered; far more than any configuration has


class UpstreamReply:
    """A reply whose body is still arriving. Whoever gets it calls `aclose`, also when cancelled.

    Attributes:
        status: HTTP status.
        headers: names in lower case, without those that concern this connection only.
        ended: the body has arrived whole, and the connection is given back.
        gaps: the pauses in which the body arrives.
    """

    __slots__ = ("_lease", "ended", "gaps", "headers", "status")

    def __init__(self, head: Head, lease: Lease) -> None:
        self.status = head.status
        self.headers = end_to_end(head.headers)
        self._lease = lease
        self.ended = False
        self.gaps = lease.connection.gaps if lease.connection is not None else Gaps()

    async def receive(self) -> bytes:
        """The next body bytes; b"" exactly at a complete end, and again after it.

        What has arrived already is given without waiting. Being cancelled closes the connection, as any error does.

        Raises:
            ConnectionLost: the connection broke, or ended before the reply did; or this was closed before.
            ProtocolViolation: the framing is wrong.
            UpstreamTimeout: stage "between_bytes" or "total".
        """
        if self.ended:
            return b""
        connection = self._connection()
        data = connection.take()
        if not data and not connection.complete:
            data = await self._next(connection)
        if connection.complete:  # the next request can have the connection while this piece is being worked on
            self.ended = True
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
        if self.ended:
            return b""
        connection = self._connection()
        data = connection.take()
        pieces = [data]
        size = len(data)
        while size <= limit and not connection.complete:
            data = connection.take() or await self._next(connection)
            pieces.append(data)
            size += len(data)
        if size > limit:
            await self._lease.discard()
            raise ProtocolViolation(f"the reply is larger than {limit} bytes")
        self.ended = True
        if not self._lease.hand_back():
            await self._lease.discard()
        return b"".join(pieces)

    async def pump(self, taken: Callable[[bytes], bool]) -> None:
        """Give body bytes to `taken` as they arrive, until it returns False or there are no more.

        Being cancelled closes the connection, as any error does, also one that `taken` raises.

        Raises:
            UpstreamError: as `receive`.
        """
        if self.ended:
            return
        connection = self._connection()
        data = connection.take()
        try:
            if not data or taken(data):
                await connection.pump(taken)
        except BaseException:
            await self._lease.discard()
            raise
        if connection.complete:
            self.ended = True
            await self._lease.finish()

    def interrupt(self) -> None:
        """Whoever waits for the body gets a `ConnectionLost` instead; harmless when nobody does."""
        if self._lease.connection is not None:
            self._lease.connection.interrupt()

    def _connection(self) -> Connection:
        connection = self._lease.connection
        if connection is None:
            raise ConnectionLost("this reply was closed before its end", before_reply=False)
        return connection

    async def _next(self, connection: Connection) -> bytes:
        try:
            return await connection.receive()
        except BaseException:
            await self._lease.discard()
            raise

    async def aclose(self) -> None:
        """Let go of the connection; before the end of the body that closes it, and the engine stops working.

        Safe to call twice and while cancelled; takes two seconds at most.
        """
        await self._lease.finish()


@dataclass(frozen=True, slots=True)
class _Route:
    """How to reach an endpoint; it keeps the endpoint alive, so that nothing else can have its identity."""

    endpoint: Endpoint
    cap: int
    idle_close: float
    pool: Pool
    outgoing: Outgoing

    def fits(self, endpoint: Endpoint, cap: int, idle_close: float) -> bool:
        """Whether it is the way for these."""
        return self.endpoint is endpoint and self.cap == cap and self.idle_close == idle_close


class Upstreams:
    """The connections to all model servers.

    Args:
        ssl_context: whom to trust for https; the system's certificate authorities when absent.
        readiness: shared with whoever answers clients; one of its own when absent.
    """

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None, readiness: Readiness | None = None) -> None:
        self._ssl_context = ssl_context
        self._pools: dict[tuple[str, Address, int, float], Pool] = {}
        self._taken: defaultdict[str, Taken] = defaultdict(Taken)  # by name; they outlive the pools
        self._routes: dict[int, _Route] = {}  # by the identity of the endpoint: hashing one costs as much as sending
        self._shared = Shared(readiness)
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
        name: str = "",
    ) -> UpstreamReply:
        """Send a request and wait for the head of the reply.

        Args:
            endpoint: where to, and with which credential.
            request: what; framing, Host and the credential are added.
            deadlines: how long each part may take.
            max_connections: most connections to this address; past it the request waits.
            idle_close: seconds after which the server closes idle connections.
            name: whose server it is, always the same for an endpoint: connections are counted under it.

        Raises:
            ConnectFailed: nothing was sent.
            ConnectionLost: the connection broke.
            ProtocolViolation: the reply is not HTTP.
            UpstreamTimeout: a deadline passed.
            ValueError: the request cannot be written down as HTTP.
        """
        countdown = Countdown(deadlines)
        if countdown.start - self._swept >= _SWEEP:
            await self._sweep()
        if self._closed:
            raise ConnectFailed("no more connections: closing down")
        route = self._routes.get(id(endpoint))
        if route is None or not route.fits(endpoint, max_connections, idle_close):
            route = self._route(endpoint, max_connections, idle_close, name)
        lease, head = await route.pool.begin(route.outgoing.prepare(request), countdown)
        return UpstreamReply(head, lease)

    def takings(self) -> dict[tuple[str, ...], float]:
        """How many connections were "opened", "reused" and found "dead" since the start, by name."""
        return {
            (name, how): count
            for name, taken in self._taken.items()
            for how, count in (("opened", taken.opened), ("reused", taken.reused), ("dead", taken.dead))
        }

    def connections(self) -> dict[tuple[str, ...], float]:
        """How many connections are "leased" and "idle", and requests that are "waiting" for one, by name."""
        found: dict[tuple[str, ...], float] = {}
        for name in self._taken:
            pools = [pool for (of, *_), pool in self._pools.items() if of == name]
            found[name, "leased"] = sum(pool.leased for pool in pools)
            found[name, "idle"] = sum(pool.idle for pool in pools)
            found[name, "waiting"] = sum(pool.waiting for pool in pools)
        return found

    async def aclose(self) -> None:
        """Close what is idle; exchanges still under way close theirs when they end. No request is sent any more."""
        self._closed = True
        for pool in list(self._pools.values()):
            await pool.aclose()

    def _route(self, endpoint: Endpoint, cap: int, idle_close: float, name: str) -> "_Route":
        """How to reach an endpoint, remembered until its pool is dropped."""
        if len(self._routes) >= _ROUTES:
            self._routes.clear()
        pool = self._pool(name, endpoint.address, cap, idle_close)
        route = _Route(endpoint, cap, idle_close, pool, Outgoing(endpoint))
        self._routes[id(endpoint)] = route
        return route

    def _pool(self, name: str, address: Address, cap: int, idle_close: float) -> Pool:
        """The pool of an address. The limits are part of the key, so that a changed one starts anew."""
        address = replace(address, prefix="")
        key = (name, address, cap, idle_close)
        pool = self._pools.get(key)
        if pool is None:

            async def connect(countdown: Countdown) -> Connection:
                if address.scheme == "https":
                    return await open_secure(address, self._trust())
                return await open_plain(address, countdown, self._shared)

            taken = self._taken[name]
            pool = self._pools[key] = Pool(str(address), connect, cap=cap, idle_close=idle_close, taken=taken)
        return pool

    def _trust(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            self._ssl_context = system_trust()
        return self._ssl_context

    async def _sweep(self) -> None:
        """Now and then close what expired, and drop the pools of addresses that nobody uses any more."""
        self._swept = trio.current_time()
        for key, pool in list(self._pools.items()):
            await pool.expire()
            if pool.empty and self._pools.get(key) is pool:
                del self._pools[key]
                self._routes = {key: route for key, route in self._routes.items() if route.pool is not pool}
