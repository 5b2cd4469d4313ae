import math
import socket

import trio
import trio.testing

from appliance.door.watch import Watch


class Seen:
    def __init__(self) -> None:
        self.deadline = math.inf
        self.left_at: list[float] = []
        self.expired_at: list[float] = []

    def left(self) -> None:
        self.left_at.append(trio.current_time())

    def expired(self) -> None:
        self.deadline = math.inf
        self.expired_at.append(trio.current_time())


async def test_the_end_of_the_other_side_is_seen_behind_unread_bytes() -> None:
    watch, seen = Watch(), Seen()
    ours, theirs = socket.socketpair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run)
        watch.add(ours, seen)
        theirs.send(b"unread")
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert seen.left_at == []
        theirs.shutdown(socket.SHUT_WR)
        with trio.fail_after(5):
            while not seen.left_at:
                await trio.sleep(0.01)
        await trio.sleep(0.05)
        assert len(seen.left_at) == 1
        nursery.cancel_scope.cancel()
    ours.close()
    theirs.close()


async def test_an_end_before_the_watch_began_is_seen_too_and_a_removed_one_is_not() -> None:
    watch, seen, forgotten = Watch(), Seen(), Seen()
    ours, theirs = socket.socketpair()
    other, their_other = socket.socketpair()
    theirs.close()
    async with trio.open_nursery() as nursery:
        watch.add(ours, seen)
        watch.add(other, forgotten)
        watch.remove(other)
        watch.remove(other)
        their_other.close()
        nursery.start_soon(watch.run)
        with trio.fail_after(5):
            while not seen.left_at:
                await trio.sleep(0.01)
        assert forgotten.left_at == []
        assert len(watch) == 1
        watch.remove(ours)
        assert len(watch) == 0
        nursery.cancel_scope.cancel()
    ours.close()
    other.close()
    watch.remove(ours)


async def test_a_deadline_is_told_once_soon_after_it(autojump_clock: trio.testing.MockClock) -> None:
    watch, seen = Watch(), Seen()
    ours, theirs = socket.socketpair()
    async with trio.open_nursery() as nursery:
        watch.add(ours, seen)
        began = trio.current_time()
        seen.deadline = began + 10
        nursery.start_soon(watch.run)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert len(seen.expired_at) == 1
    assert 10 <= seen.expired_at[0] - began <= 10.5
    ours.close()
    theirs.close()
