"""Tokens that come one upon another, waited for where Trio would begin to wait; and nobody else waits for them."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from appliance.sockets.readiness import Readiness
from tests.sockets.test_readiness_flowing import Ours, Step, blocked, pair, still_works


@contextmanager
def flood(theirs: "object", pause: float) -> Iterator[Callable[[], int]]:
    """Somebody else's thread that sends a byte again and again; how many it has sent."""
    sent, over = 0, threading.Event()

    def run() -> None:
        nonlocal sent
        while not over.is_set():
            theirs.send(b"x")  # type: ignore[attr-defined]
            sent += 1
            time.sleep(pause)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield lambda: sent
    finally:
        over.set()
        thread.join()


def reader(ours: Ours, got: list[bytes]) -> Step:
    """Reads once; it is over when somebody says so, whatever came with it."""

    def step() -> bool:
        try:
            got.append(ours.read(100))
        except BlockingIOError:
            return False
        return got[-1].endswith(b"end")

    return step


class Counting(trio.abc.Instrument):
    """How often Trio begins to wait."""

    def __init__(self) -> None:
        self.waits = 0

    def before_io_wait(self, timeout: float) -> None:
        self.waits += timeout > 0


async def flowing(nursery: trio.Nursery, ours: Ours, got: list[bytes]) -> None:
    nursery.start_soon(ours.run, reader(ours, got))
    await blocked()


async def test_many_tokens_pass_in_one_turn_of_the_loop() -> None:
    room, got, counting = Readiness(), list[bytes](), Counting()
    with pair(room) as (ours, theirs), trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await flowing(nursery, ours, got)
            trio.lowlevel.add_instrument(counting)
            with flood(theirs, 0):
                while len(got) < 3000:
                    await trio.sleep(0.05)
            trio.lowlevel.remove_instrument(counting)
            theirs.send(b"end")
    assert counting.waits < len(got) / 2
    await still_works(room)


async def test_timers_go_off_though_tokens_never_cease() -> None:
    room, got = Readiness(), list[bytes]()
    with pair(room) as (ours, theirs), trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await flowing(nursery, ours, got)
            with flood(theirs, 0.0001):
                started = trio.current_time()
                for _ in range(20):
                    await trio.sleep(0.005)
                assert trio.current_time() - started < 5 * 20 * 0.007
            theirs.send(b"end")


async def test_what_only_trio_can_see_is_seen_though_tokens_never_cease() -> None:
    room, got = Readiness(), list[bytes]()
    mine, yours = os.pipe()
    with pair(room) as (ours, theirs), trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await flowing(nursery, ours, got)
            with flood(theirs, 0.0001):
                for _ in range(20):
                    os.write(yours, b"x")
                    await trio.lowlevel.wait_readable(mine)
                    os.read(mine, 1)
                    assert await trio.to_thread.run_sync(lambda: 7) == 7
            theirs.send(b"end")
    os.close(mine)
    os.close(yours)


async def test_a_task_that_is_woken_in_between_runs_though_no_timer_is_near() -> None:
    room, got = Readiness(), list[bytes]()
    with pair(room) as (ours, theirs), pair(room) as (other, far), trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await flowing(nursery, ours, got)
            for number in range(50):
                theirs.send(b"x")  # the next look is one that lingers
                threading.Timer(0.0004 * (number % 4), far.send, (b"answer",)).start()
                await other.wait()
                assert other.read(100) == b"answer"
            theirs.send(b"end")


async def test_a_step_that_fails_or_ends_in_between_wakes_its_task() -> None:
    room, got = Readiness(), list[bytes]()
    for _ in range(50):
        with pair(room) as (ours, theirs), trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                await flowing(nursery, ours, got)
                theirs.send(b"x")
                threading.Timer(0.0003, theirs.send, (b"end",)).start()
            assert room.flowing == 0
