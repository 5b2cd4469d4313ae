import random
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from appliance.errors import ConnectFailed, ConnectionLost, UpstreamError, UpstreamTimeout
from appliance.http1.response import Head
from appliance.upstream.connection import OutRequest
from appliance.upstream.deadlines import Countdown, Deadlines
from appliance.upstream.gaps import Gaps
from appliance.upstream.pool import Pool, Taken

GET = OutRequest("GET", "/")


class FakeConnection:
    """Waits a little in every step; breaks when told to."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.gaps = Gaps()
        self.exchanges = 0
        self.reusable = False
        self.closed = False

    def stale(self) -> bool:
        return self._world.stale

    async def exchange(self, request: OutRequest, countdown: Countdown) -> Head:
        self.reusable = False
        self.exchanges += 1
        await self._world.pause()
        if self.exchanges > 1 and self._world.breaks is not None:
            raise self._world.breaks
        self.reusable = True
        return Head(200, [])

    @property
    def complete(self) -> bool:
        return True

    def take(self) -> bytes:
        return b""

    async def receive(self) -> bytes:
        return b""

    async def pump(self, taken: Callable[[bytes], bool]) -> None:
        while data := await self.receive():
            if not taken(data):
                return

    def interrupt(self) -> None:
        """Nobody waits here."""

    async def aclose(self) -> None:
        assert not self.closed
        self.closed = True
        self._world.open -= 1
        await self._world.pause()


class World:
    """Makes connections and counts them."""

    def __init__(self, pause: Callable[[], Awaitable[object]] = trio.lowlevel.checkpoint) -> None:
        self.pause = pause
        self.made: list[FakeConnection] = []
        self.open = 0
        self.stale = False
        self.breaks: UpstreamError | None = None
        self.refuses = False

    async def connect(self, countdown: Countdown) -> FakeConnection:
        await self.pause()
        if self.refuses:
            raise ConnectFailed("refused")
        self.open += 1
        self.made.append(FakeConnection(self))
        return self.made[-1]


def pool_of(world: World, cap: int = 4) -> Pool:
    return Pool("http://box", world.connect, cap=cap, idle_close=5.0)


async def use(pool: Pool, deadlines: Deadlines | None = None) -> None:
    lease, _ = await pool.begin(GET, Countdown(deadlines or Deadlines()))
    await lease.finish()


async def test_a_connection_that_ended_cleanly_is_used_again() -> None:
    world = World()
    pool = pool_of(world)
    for _ in range(3):
        await use(pool)
    assert (len(world.made), pool.leased, pool.idle) == (1, 0, 1)


async def test_the_connection_used_last_is_used_first_and_the_others_expire(autojump_clock: MockClock) -> None:
    world = World()
    pool = pool_of(world)
    leases = [(await pool.begin(GET, Countdown(Deadlines())))[0] for _ in range(3)]
    for lease in leases:
        await lease.finish()
    await trio.sleep(3)
    await use(pool)
    await trio.sleep(2)
    await pool.expire()
    assert ([c.closed for c in world.made], pool.idle) == ([True, True, False], 1)
    await trio.sleep(4)
    await use(pool)
    assert (len(world.made), world.open) == (4, 1)


async def test_a_stale_connection_is_not_used(autojump_clock: trio.testing.MockClock) -> None:
    world = World()
    pool = pool_of(world)
    await use(pool)
    world.stale = True
    await trio.sleep(1)
    await use(pool)
    assert ([c.exchanges for c in world.made], world.open) == ([1, 1], 1)


async def test_a_reused_connection_that_breaks_before_any_reply_byte_is_retried_once_on_a_fresh_one() -> None:
    world = World()
    pool = pool_of(world)
    leases = [(await pool.begin(GET, Countdown(Deadlines())))[0] for _ in range(2)]
    for lease in leases:
        await lease.finish()
    world.breaks = ConnectionLost("gone", before_reply=True)
    await use(pool)
    assert [c.exchanges for c in world.made] == [1, 2, 1]
    assert (pool.leased, pool.idle, world.open) == (0, 2, 2)


async def test_what_the_server_may_have_died_of_is_no_failed_connection() -> None:
    world = World()
    pool = pool_of(world)
    await use(pool)
    world.breaks, world.refuses = ConnectionLost("gone", before_reply=True), True
    with pytest.raises(ConnectionLost, match="gone, and then: refused"):
        await use(pool)
    with pytest.raises(ConnectFailed, match="refused"):
        await use(pool)
    assert (pool.leased, pool.idle, world.open) == (0, 0, 0)


async def test_a_request_that_was_not_sent_on_an_old_connection_only_failed_to_connect() -> None:
    world = World()
    pool = pool_of(world)
    await use(pool)
    world.breaks, world.refuses = ConnectFailed("gone"), True
    with pytest.raises(ConnectFailed, match="refused"):
        await use(pool)
    assert (pool.leased, pool.idle, world.open) == (0, 0, 0)


async def test_it_is_counted_how_connections_came_about(autojump_clock: MockClock) -> None:
    world, taken = World(), Taken()
    pool = Pool("http://box", world.connect, cap=4, idle_close=5.0, taken=taken)
    await use(pool)
    await use(pool)
    assert taken == Taken(opened=1, reused=1)
    world.breaks = ConnectionLost("gone", before_reply=True)
    await use(pool)
    assert taken == Taken(opened=2, reused=1, dead=1)
    world.breaks, world.stale = None, True
    await trio.sleep(1)
    await use(pool)
    assert taken == Taken(opened=3, reused=1, dead=2)
    world.stale = False
    await trio.sleep(4.5)
    await use(pool)  # we let go before the server does: nothing was found dead
    assert taken == Taken(opened=4, reused=1, dead=2)


@pytest.mark.parametrize("error", [ConnectionLost("x", before_reply=False), UpstreamTimeout("first_byte", 1)])
async def test_nothing_else_is_retried(error: UpstreamError) -> None:
    world = World()
    pool = pool_of(world)
    await use(pool)
    world.breaks = error
    with pytest.raises(type(error)):
        await use(pool)
    assert (len(world.made), world.open, pool.leased) == (1, 0, 0)


async def test_a_failed_connect_frees_the_slot() -> None:
    world = World()
    pool = pool_of(world, cap=1)
    world.refuses = True
    for _ in range(3):
        with pytest.raises(ConnectFailed):
            await use(pool)
    assert pool.empty


async def test_past_the_cap_requests_wait_within_their_total_deadline(autojump_clock: MockClock) -> None:
    world = World()
    pool = pool_of(world, cap=1)
    lease, _ = await pool.begin(GET, Countdown(Deadlines()))
    assert repr(pool) == "<Pool http://box leased=1 idle=0 waiting=0 cap=1>"
    with pytest.raises(UpstreamTimeout) as caught:
        await use(pool, Deadlines(total=3))
    assert caught.value.stage == "total"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(use, pool)
        await trio.testing.wait_all_tasks_blocked()
        assert "waiting=1" in repr(pool)
        await lease.finish()
    assert len(world.made) == 1


async def test_ending_a_lease_twice_frees_one_slot() -> None:
    pool = pool_of(World())
    lease, _ = await pool.begin(GET, Countdown(Deadlines()))
    await lease.finish()
    await lease.finish()
    await lease.discard()
    assert (pool.leased, pool.idle) == (0, 1)


async def test_a_close_that_hangs_is_cut_and_frees_the_slot(autojump_clock: MockClock) -> None:
    world = World()
    pool = pool_of(world)
    lease, _ = await pool.begin(GET, Countdown(Deadlines()))
    world.pause = trio.sleep_forever
    start = trio.current_time()
    await lease.discard()
    assert (pool.leased, trio.current_time() - start) == (0, 2.0)


async def test_a_closed_pool_keeps_nothing_and_starts_nothing() -> None:
    world = World()
    pool = pool_of(world)
    await use(pool)
    lease, _ = await pool.begin(GET, Countdown(Deadlines()))
    await pool.aclose()
    await lease.finish()
    assert (world.open, pool.empty) == (0, True)
    with pytest.raises(ConnectFailed):
        await use(pool)


async def test_ten_thousand_random_cancellations_leave_nothing_leased_and_the_pool_usable() -> None:
    dice = random.Random(7)

    async def pause() -> None:
        for _ in range(dice.randrange(3)):
            await trio.lowlevel.checkpoint()

    world = World(pause)
    pool = pool_of(world, cap=5)

    async def cancelled_somewhere(steps: int) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(use, pool)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            assert pool.leased + pool.idle <= 5
            assert world.open <= 5
            nursery.cancel_scope.cancel()

    for _ in range(500):
        world.stale = dice.random() < 0.1
        world.breaks = ConnectionLost("x", before_reply=True) if dice.random() < 0.2 else None
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(cancelled_somewhere, dice.randrange(30))
    assert (pool.leased, world.open) == (0, pool.idle)
    world.stale, world.breaks = False, None
    for _ in range(6):
        await use(pool)
