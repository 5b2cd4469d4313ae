import contextlib
import math
import random
import socket
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from appliance.sockets.readiness import Reader, Readiness
from appliance.upstream.alarm import Alarm


class Ours(Reader):
    """A reader that knows its socket."""

    def __init__(self, sock: socket.socket, readiness: Readiness) -> None:
        sock.setblocking(False)
        super().__init__(sock, readiness)
        self.sock = sock


Pair = tuple[Ours, socket.socket]


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    sock, theirs = socket.socketpair()
    with sock, theirs:
        ours = Ours(sock, Readiness())
        yield ours, theirs
        ours.close()


async def test_what_arrives_in_time_ends_the_wait(pair: Pair) -> None:
    alarm = Alarm()
    for deadline in (math.inf, trio.current_time() + 60):
        pair[1].send(b"x")
        await alarm.wait(pair[0], deadline)
        assert pair[0].read(10) == b"x"
    assert alarm.waiting == 0


async def test_silence_ends_at_the_deadline_and_the_socket_stays_usable(pair: Pair, autojump_clock: MockClock) -> None:
    alarm = Alarm()
    for _ in range(3):
        start = trio.current_time()
        with pytest.raises(trio.TooSlowError):
            await alarm.wait(pair[0], start + 7)
        assert trio.current_time() - start == 7
    pair[1].send(b"x")
    await alarm.wait(pair[0], trio.current_time() + 7)


async def test_a_deadline_that_has_passed_still_lets_other_tasks_run(pair: Pair) -> None:
    with pytest.raises(trio.TooSlowError):
        await Alarm().wait(pair[0], trio.current_time() - 1)


async def test_a_nearer_deadline_is_not_missed_behind_a_later_one(autojump_clock: MockClock) -> None:
    alarm, start = Alarm(), trio.current_time()
    ended: list[float] = []
    sockets, readiness = [socket.socketpair() for _ in range(4)], Readiness()
    readers = [Reader(ours, readiness) for ours, _ in sockets]

    async def wait(number: int, seconds: float) -> None:
        with pytest.raises(trio.TooSlowError):
            await alarm.wait(readers[number], start + seconds)
        ended.append(trio.current_time() - start)

    async with trio.open_nursery() as nursery:
        for number, seconds in enumerate((9, 3, 6, 3)):
            nursery.start_soon(wait, number, seconds)
            await trio.testing.wait_all_tasks_blocked()
    assert ended == [3, 3, 6, 9]
    for reader in readers:
        reader.close()
    for ours, theirs in sockets:
        ours.close()
        theirs.close()


async def test_a_wait_that_ended_early_rings_nothing_later(pair: Pair, autojump_clock: MockClock) -> None:
    alarm = Alarm()
    pair[1].send(b"x")
    await alarm.wait(pair[0], trio.current_time() + 5)
    assert pair[0].read(10) == b"x"
    with trio.move_on_after(20) as scope:
        await alarm.wait(pair[0], math.inf)
    assert scope.cancelled_caught


async def test_closing_is_told_apart_from_a_deadline(pair: Pair) -> None:
    alarm = Alarm()
    for deadline in (math.inf, trio.current_time() + 60):
        async with trio.open_nursery() as nursery:

            async def wait(deadline: float) -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await alarm.wait(pair[0], deadline)

            nursery.start_soon(wait, deadline)
            await trio.testing.wait_all_tasks_blocked()
            pair[0].interrupt(trio.ClosedResourceError())
    pair[0].close()
    with pytest.raises(trio.ClosedResourceError):
        await alarm.wait(pair[0], math.inf)
    assert alarm.waiting == 0


async def test_whatever_happens_to_a_wait_its_entry_goes(pair: Pair) -> None:
    dice = random.Random(5)
    alarm = Alarm()
    for _ in range(300):
        with trio.move_on_after(dice.random() * 0.002):
            with contextlib.suppress(trio.TooSlowError):
                await alarm.wait(pair[0], trio.current_time() + dice.random() * 0.002)
        assert alarm.waiting == 0


async def test_the_watchman_goes_home_when_nobody_waits(pair: Pair, autojump_clock: MockClock) -> None:
    alarm = Alarm()
    before = trio.lowlevel.current_statistics().tasks_living
    with trio.move_on_after(1):
        await alarm.wait(pair[0], trio.current_time() + 5)
    assert trio.lowlevel.current_statistics().tasks_living == before + 1
    await trio.sleep(5)
    await trio.testing.wait_all_tasks_blocked()
    assert trio.lowlevel.current_statistics().tasks_living == before
