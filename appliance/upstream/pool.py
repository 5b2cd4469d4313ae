"""Connections to one address, with books that balance: leased + idle never exceeds the cap, whatever is cancelled."""

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from appliance.errors import ConnectFailed, ConnectionLost
from appliance.http1.response import Head
from appliance.upstream.connection import Connection, OutRequest
from appliance.upstream.deadlines import Countdown

_CLOSE_GRACE = 2.0  # seconds; a close that takes longer is cut
_FRESH = 0.5  # seconds
_IDLE_SHARE = 0.8  # of the server's own idle time: we must be the first to let go


@dataclass(slots=True)
class Taken:
    """How the connections came about that requests took. Pools of one name count in the same.

    Attributes:
        opened: for the request that took them.
        reused: kept from an earlier one, and answered.
        dead: kept as well, and closed by the server meanwhile; another one was taken in their place.
    """

    opened: int = 0
    reused: int = 0
    dead: int = 0


class Lease:
    """One slot of a pool, in use. `finish` or `discard` must be called; both may be called again.

    Attributes:
        connection: what holds the slot; None while there is none.
    """

    __slots__ = ("_pool", "connection")

    def __init__(self, pool: "Pool") -> None:
        self.connection: Connection | None = None
        self._pool = pool

    async def finish(self) -> None:
        """Give the connection back if its exchange ended cleanly, else close it. Safe while cancelled."""
        if not self.hand_back():
            await self.discard()

    def hand_back(self) -> bool:
        """Give the connection back if its exchange ended cleanly; else it is still to be discarded."""
        connection = self.connection
        if connection is not None and connection.reusable and self._pool.keep(self, connection):
            self.connection = None
            return True
        return False

    async def discard(self) -> None:
        """Close the connection and free the slot. Bounded; safe while cancelled."""
        try:
            await self.drop_connection()
        finally:
            self._pool.free(self)

    async def drop_connection(self) -> None:
        """Close the connection; the slot stays ours."""
        connection, self.connection = self.connection, None
        if connection is not None:
            await _close(connection)


class Pool:
    """Leases connections to one address.

    Args:
        name: for messages.
        connect: opens a connection; whatever it raises passes through.
        cap: most connections, in use and idle together.
        idle_close: seconds after which the server closes an idle connection.
        taken: counts what is taken here; one of its own when absent.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[Countdown], Awaitable[Connection]],
        *,
        cap: int,
        idle_close: float,
        taken: Taken | None = None,
    ) -> None:
        self._name = name
        self._taken = taken or Taken()
        self._connect = connect
        self._cap = cap
        self._idle_for = idle_close * _IDLE_SHARE
        self._slots = trio.Semaphore(cap, max_value=cap)
        self._leased: set[Lease] = set()
        self._idle: deque[tuple[float, Connection]] = deque()  # (expiry, connection), oldest first
        self._waiting = 0  # for a slot; the pool is not empty then, even without a lease
        self._closed = False

    @property
    def leased(self) -> int:
        """Slots in use."""
        return len(self._leased)

    @property
    def idle(self) -> int:
        """Connections that wait for their next use."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return self._waiting

    @property
    def empty(self) -> bool:
        """Nobody uses it, nobody waits for it, and it holds no connection: it can be dropped."""
        return not (self._leased or self._idle or self._waiting)

    def __repr__(self) -> str:
        waiting = self._slots.statistics().tasks_waiting
        return f"<Pool {self._name} leased={self.leased} idle={self.idle} waiting={waiting} cap={self._cap}>"

    async def begin(self, request: OutRequest, countdown: Countdown) -> tuple[Lease, Head]:
        """Send a request and wait for the head; the lease is the caller's to end.

        A connection from the idle stack that breaks before any reply byte was closed by the server while idle, so the
        request is sent once more, on a fresh connection. Where there is none to be had, that break is what is raised:
        the server may have got the request, and may have died of it.

        Raises:
            UpstreamError: any kind.
        """
        if self._closed:
            raise ConnectFailed(f"no more connections to {self._name}: closing down")
        try:
            self._slots.acquire_nowait()
        except trio.WouldBlock:
            await self._wait_for_slot(countdown)
        # No checkpoint since the slot was taken, so a cancellation cannot lose it.
        lease = Lease(self)
        self._leased.add(lease)
        broke: ConnectionLost | None = None
        try:
            if self._idle:
                lease.connection = connection = self._just_used(countdown.start) or await self._take_idle(
                    countdown.start
                )
                if connection is not None:
                    try:
                        head = await connection.exchange(request, countdown)
                    except ConnectionLost as lost:
                        if not lost.before_reply:
                            raise
                        broke = lost
                    except ConnectFailed:
                        pass  # nothing was sent
                    else:
                        self._taken.reused += 1
                        return lease, head
                    self._taken.dead += 1
                    await lease.drop_connection()
            lease.connection = await self._opened(countdown, broke)
            self._taken.opened += 1
            return lease, await lease.connection.exchange(request, countdown)
        except BaseException:
            await lease.discard()
            raise

    async def _opened(self, countdown: Countdown, broke: ConnectionLost | None) -> Connection:
        try:
            return await self._connect(countdown)
        except ConnectFailed as failed:
            if broke is None:
                raise
            raise ConnectionLost(f"{broke}, and then: {failed}", before_reply=True) from failed

    async def _wait_for_slot(self, countdown: Countdown) -> None:
        self._waiting += 1
        try:
            with countdown.within("total"):
                await self._slots.acquire()
        finally:
            self._waiting -= 1

    def _just_used(self, now: float) -> Connection | None:
        """The connection used last, if it was busy a moment ago.

        That one need not be asked: if it is dead after all, the request is sent once more.
        """
        left = self._idle[-1][0] - now
        return self._idle.pop()[1] if left > 0 and self._idle_for - left < _FRESH else None

    async def _take_idle(self, now: float) -> Connection | None:
        """The connection used last: it is the least likely to be stale, and the others can expire."""
        while self._idle:
            expiry, connection = self._idle.pop()
            if expiry > now:
                if not connection.stale():
                    return connection
                self._taken.dead += 1
            await _close(connection)
        return None

    def keep(self, lease: Lease, connection: Connection) -> bool:
        """Turn a lease into an idle connection; False when the pool keeps none any more."""
        if self._closed or lease not in self._leased:
            return False
        self._idle.append((trio.current_time() + self._idle_for, connection))
        self._leased.remove(lease)
        self._slots.release()
        return True

    def free(self, lease: Lease) -> None:
        """Give a slot back, once."""
        if lease in self._leased:
            self._leased.remove(lease)
            self._slots.release()

    async def expire(self) -> None:
        """Close the connections that have been idle for too long."""
        now = trio.current_time()
        while self._idle and self._idle[0][0] <= now:
            await _close(self._idle.popleft()[1])

    async def aclose(self) -> None:
        """Close the idle connections and keep none from now on; leases end on their own."""
        self._closed = True
        while self._idle:
            await _close(self._idle.pop()[1])


async def _close(connection: Connection) -> None:
    """Close within the grace, also while cancelled."""
    with trio.move_on_after(_CLOSE_GRACE, shield=True):
        await connection.aclose()
