"""Tasks that wait: `wait`, where test_readiness_flowing.py has `run`."""

import contextlib
import random
import socket
from collections.abc import Iterator
from functools import partial

import pytest
import trio
import trio.testing

from appliance.sockets.outbox import Outbox
from appliance.sockets.readiness import Reader, Readiness


@contextlib.contextmanager
def pair(readiness: Readiness | None = None, *, tcp: bool = False) -> Iterator[tuple[Reader, socket.socket]]:
    """Ours and theirs, closed at the end in any case."""
    if tcp:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            sock = socket.create_connection(listening.getsockname())
            theirs, _ = listening.accept()
    else:
        sock, theirs = socket.socketpair()
    sock.setblocking(False)
    with sock, theirs:
        ours = Reader(sock, readiness or Readiness())
        try:
            yield ours, theirs
        finally:
            ours.close()


async def next_piece(ours: Reader, most: int = 1000) -> bytes:
    while True:
        await ours.wait()
        try:
            return ours.read(most)
        except BlockingIOError:
            continue


async def silent(ours: Reader) -> bool:
    """Nothing comes, and waiting for it costs nothing."""
    with trio.move_on_after(0.03) as scope:
        await next_piece(ours)
    return scope.cancelled_caught


async def until_closed(ours: Reader) -> None:
    while True:
        await ours.wait()


@pytest.mark.parametrize("tcp", [False, True])
async def test_what_a_read_leaves_is_not_forgotten(tcp: bool) -> None:
    with pair(tcp=tcp) as (ours, theirs), trio.fail_after(10):
        theirs.send(b"abcde")
        assert [await next_piece(ours, 2) for _ in range(3)] == [b"ab", b"cd", b"e"]
        assert await silent(ours)
        theirs.send(b"abcd")
        assert [await next_piece(ours, 2) for _ in range(2)] == [b"ab", b"cd"]
        assert await silent(ours)
        theirs.send(b"next")
        assert await next_piece(ours) == b"next"


@pytest.mark.parametrize("tcp", [False, True])
async def test_reading_into_a_buffer_is_the_same(tcp: bool) -> None:
    buffer, got = memoryview(bytearray(2)), b""
    with pair(tcp=tcp) as (ours, theirs), trio.fail_after(10):
        theirs.send(b"abcde")
        while len(got) < 5:
            await ours.wait()
            got += buffer[: ours.read_into(buffer)]
        assert got == b"abcde"
        assert await silent(ours)
        with pytest.raises(BlockingIOError):
            ours.read_into(buffer)
        theirs.close()
        for _ in range(3):
            await ours.wait()
            assert ours.read_into(buffer) == 0


@pytest.mark.parametrize("tcp", [False, True])
async def test_an_end_right_behind_the_last_bytes_is_seen_and_seen_again(tcp: bool) -> None:
    for waits in (True, False):
        with pair(tcp=tcp) as (ours, theirs), trio.fail_after(10):
            if waits:
                assert await silent(ours)
            theirs.send(b"last")
            theirs.close()
            assert [await next_piece(ours) for _ in range(4)] == [b"last", b"", b"", b""]


async def test_bytes_behind_urgent_ones_are_not_stuck() -> None:
    with pair(tcp=True) as (ours, theirs), trio.fail_after(10):
        theirs.send(b"one")
        theirs.send(b"!", socket.MSG_OOB)
        theirs.send(b"two")
        assert await next_piece(ours) == b"one"  # the kernel stops at the urgent byte, which it leaves out
        assert await next_piece(ours) == b"two"
        assert await silent(ours)


async def test_what_comes_while_nobody_waits_is_there_for_the_next_wait() -> None:
    with pair() as (ours, theirs), trio.fail_after(10):
        for number in range(50):
            theirs.send(b"%d" % number)
            for _ in range(number % 4):
                await trio.lowlevel.checkpoint()
            assert await next_piece(ours) == b"%d" % number
        theirs.send(b"x")
        await ours.wait()
        await ours.wait()  # nobody has read it
        assert ours.read(10) == b"x"


async def test_every_wait_lets_others_have_their_turn_and_can_be_cancelled() -> None:
    with pair() as (ours, theirs), trio.fail_after(10):
        theirs.send(b"abc")
        for _ in range(3):
            with trio.testing.assert_checkpoints():
                await ours.wait()
            assert len(ours.read(1)) == 1
        for here in (b"", b"x"):
            theirs.send(here)
            with trio.CancelScope() as scope:
                scope.cancel()
                await ours.wait()
            assert scope.cancelled_caught
        assert await next_piece(ours) == b"x"


async def test_an_interruption_is_told_once_and_the_socket_stays_of_use() -> None:
    with pair() as (ours, theirs), trio.fail_after(10):
        ours.interrupt(ZeroDivisionError())  # nobody waits
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(ZeroDivisionError):
                    await ours.wait()

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            ours.interrupt(ZeroDivisionError())
            ours.interrupt(ValueError())
        theirs.send(b"x")
        assert await next_piece(ours) == b"x"


async def test_closing_tells_whoever_waits_and_whoever_comes_later() -> None:
    for comes in (b"", b"x"):
        with pair() as (ours, theirs), trio.fail_after(10):
            theirs.send(comes)
            async with trio.open_nursery() as nursery:

                async def wait(ours: Reader = ours) -> None:
                    with pytest.raises(trio.ClosedResourceError):
                        await until_closed(ours)

                nursery.start_soon(wait)
                for _ in range(5):
                    await trio.lowlevel.checkpoint()
                ours.close()
            with pytest.raises(trio.ClosedResourceError):
                await ours.wait()


async def test_two_cannot_wait_at_once_and_a_socket_has_one_reader() -> None:
    readiness = Readiness()
    ours, theirs = socket.socketpair()
    with ours, theirs, trio.fail_after(10):
        reader = Reader(ours, readiness)
        with pytest.raises(trio.BusyResourceError):
            Reader(ours, readiness)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.run, lambda: True)
            await trio.testing.wait_all_tasks_blocked()
            for second in (reader.wait, partial(reader.run, lambda: True)):
                with pytest.raises(trio.BusyResourceError):
                    await second()
            theirs.send(b"x")
        reader.close()
        again = Reader(ours, readiness)
        await again.wait()
        again.close()


async def test_a_number_that_is_used_again_belongs_to_its_new_socket() -> None:
    readiness = Readiness()
    with trio.fail_after(10):
        for _ in range(100):
            with pair(readiness) as (ours, theirs):
                theirs.send(b"old")
                if random.random() < 0.5:
                    await trio.lowlevel.checkpoint()
            with pair(readiness) as (ours, theirs):
                theirs.send(b"new")
                assert await next_piece(ours) == b"new"


async def test_an_event_of_a_socket_that_is_gone_does_not_keep_its_successor_busy() -> None:
    with pair() as (ours, _), trio.fail_after(10):
        ours.resume(0xFFFF)  # as if its number had been another's a moment ago
        assert await silent(ours)
        with trio.move_on_after(0.03) as scope:
            await ours.wait()
        assert scope.cancelled_caught


async def test_trio_can_wait_for_the_same_socket() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, trio.fail_after(10):
        reader = Reader(ours, Readiness())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.lowlevel.wait_readable, ours)
            await trio.testing.wait_all_tasks_blocked()
            theirs.send(b"x")
            await reader.wait()
        reader.close()
        await trio.lowlevel.wait_readable(ours)


async def test_tasks_and_streams_together_lose_nothing_however_they_end() -> None:
    dice, readiness = random.Random(3), Readiness(Outbox())

    async def feed(theirs: socket.socket, data: bytes) -> None:
        while data:
            size = dice.randrange(1, 40)
            theirs.send(data[:size])
            data = data[size:]
            if dice.random() < 0.3:
                await trio.sleep(dice.random() * 0.002)
            elif dice.random() < 0.5:
                await trio.lowlevel.checkpoint()
        theirs.shutdown(socket.SHUT_WR)

    async def one(nursery: trio.Nursery) -> None:
        data, got, over = dice.randbytes(1500), b"", False
        with pair(readiness, tcp=dice.random() < 0.5) as (ours, theirs):
            nursery.start_soon(feed, theirs, data)

            def step() -> bool:
                nonlocal got, over
                with contextlib.suppress(BlockingIOError):
                    piece = ours.read(dice.choice([1, 5, 10, 1000]))
                    got, over = got + piece, not piece
                return over or dice.random() < 0.2

            while not over:
                with trio.move_on_after(dice.choice([0, 0.001, 1])):
                    if dice.random() < 0.5:
                        await ours.run(step)
                    else:
                        await ours.wait()
                        step()
            assert got == data

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(one, nursery)
    assert readiness.flowing == 0
    assert not readiness._readers
