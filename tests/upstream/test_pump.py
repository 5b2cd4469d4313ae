import random
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import trio
import trio.testing

from appliance.sockets.outbox import Outbox
from appliance.upstream.pump import Pump

Step = Callable[[], bool]


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Ours and theirs, closed at the end in any case."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


def reader(sock: socket.socket, got: list[bytes], last: bytes = b"") -> Step:
    """Reads once; it is over at the end of the stream, or with a certain piece."""

    def step() -> bool:
        try:
            data = sock.recv(100)
        except BlockingIOError:
            return False
        got.append(data)
        return data in {b"", last}

    return step


async def blocked() -> None:
    await trio.testing.wait_all_tasks_blocked(0.005)


async def still_works(pump: Pump) -> None:
    """The pump is alive: its task has not died, and nothing is left in it."""
    assert len(pump) == 0
    with pair() as (ours, theirs), trio.fail_after(10):
        got: list[bytes] = []
        theirs.send(b"end")
        await pump.run(ours, reader(ours, got, b"end"))
        assert got == [b"end"]
    assert len(pump) == 0


async def test_a_stream_is_read_until_its_step_says_that_it_is_over() -> None:
    pump, got = Pump(Outbox()), list[bytes]()
    with pair() as (ours, theirs), trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump.run, ours, reader(ours, got, b"end"))
            for piece in (b"a", b"b", b"end"):
                await blocked()
                assert len(pump) == 1
                theirs.send(piece)
    assert got == [b"a", b"b", b"end"]
    await still_works(pump)


async def test_the_same_socket_can_flow_again_and_again() -> None:
    pump, got = Pump(Outbox()), list[bytes]()
    with pair() as (ours, theirs), trio.fail_after(20):
        for number in range(300):
            theirs.send(b"%d" % number)
            await pump.run(ours, reader(ours, got, b"%d" % number))
            assert len(pump) == 0
    assert got == [b"%d" % number for number in range(300)]


async def test_what_was_there_before_is_read_and_what_comes_after_the_end_is_not() -> None:
    pump, got = Pump(Outbox()), list[bytes]()
    with pair() as (ours, theirs), trio.fail_after(10):
        theirs.send(b"one")
        await pump.run(ours, reader(ours, got, b"one"))
        theirs.send(b"two")
        await blocked()
        assert (got, ours.recv(100)) == ([b"one"], b"two")


async def test_the_other_side_closes_resets_or_half_closes() -> None:
    pump, got = Pump(Outbox()), list[bytes]()
    for how in ("close", "half"):
        with pair() as (ours, theirs), trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pump.run, ours, reader(ours, got))
                await blocked()
                theirs.close() if how == "close" else theirs.shutdown(socket.SHUT_WR)
    assert got == [b"", b""]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    ours.setblocking(False)
    with ours, trio.fail_after(10), pytest.raises(ConnectionResetError):
        await pump.run(ours, reader(ours, got))
    await still_works(pump)


async def test_what_a_step_raises_is_raised_in_its_own_task_and_nowhere_else() -> None:
    pump, got = Pump(Outbox()), list[bytes]()

    def bad() -> bool:
        raise ZeroDivisionError

    with pair() as (ours, theirs), pair() as (other, others), trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump.run, other, reader(other, got, b"end"))
            theirs.send(b"x")
            with pytest.raises(ZeroDivisionError):
                await pump.run(ours, bad)
            assert len(pump) == 1
            others.send(b"end")
    assert got == [b"end"]
    await still_works(pump)


async def test_cancelling_leaves_nothing_behind_and_the_socket_is_of_use() -> None:
    pump, got = Pump(Outbox()), list[bytes]()
    with pair() as (ours, theirs), trio.fail_after(10):
        for _ in range(3):
            with trio.CancelScope() as scope:
                scope.cancel()
                await pump.run(ours, reader(ours, got))
            assert (scope.cancelled_caught, len(pump)) == (True, 0)
            with trio.move_on_after(0.01) as scope:
                await pump.run(ours, reader(ours, got))
            assert (scope.cancelled_caught, len(pump)) == (True, 0)
        theirs.send(b"end")
        await pump.run(ours, reader(ours, got, b"end"))
    assert got == [b"end"]
    await still_works(pump)


@pytest.mark.parametrize("after", ["goes on", "is over", "raises"])
async def test_a_step_may_cancel_its_own_task(after: str) -> None:
    pump = Pump(Outbox())
    with pair() as (ours, theirs), trio.fail_after(10), trio.CancelScope() as scope:

        def step() -> bool:
            ours.recv(100)
            scope.cancel()
            if after == "raises":
                raise ZeroDivisionError
            return after == "is over"

        theirs.send(b"x")
        await pump.run(ours, step)
    assert scope.cancelled_caught
    await still_works(pump)


@pytest.mark.parametrize("after", ["goes on", "is over", "raises"])
async def test_a_step_may_close_its_own_socket(after: str) -> None:
    pump = Pump(Outbox())
    with pair() as (ours, theirs), trio.fail_after(10):

        def step() -> bool:
            pump.stop(ours)
            ours.close()
            if after == "raises":
                raise ZeroDivisionError
            return after == "is over"

        theirs.send(b"x")
        with pytest.raises(trio.ClosedResourceError):
            await pump.run(ours, step)
    await still_works(pump)


async def test_two_streams_of_one_round_where_one_closes_the_other() -> None:
    pump, ended = Pump(Outbox()), list[str]()
    with pair() as (one, far_one), pair() as (two, far_two), trio.fail_after(10):

        def closes(own: socket.socket, other: socket.socket) -> Step:
            def step() -> bool:
                own.recv(100)
                pump.stop(other)
                other.close()
                return True

            return step

        async def run(sock: socket.socket, step: Step) -> None:
            try:
                await pump.run(sock, step)
            except trio.ClosedResourceError:
                ended.append("closed")
            else:
                ended.append("over")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, one, closes(one, two))
            nursery.start_soon(run, two, closes(two, one))
            await blocked()
            far_one.send(b"x")  # both are ready in the same round
            far_two.send(b"x")
    assert sorted(ended) == ["closed", "over"]
    await still_works(pump)


async def test_stop_tells_whoever_waits_and_nobody_else() -> None:
    pump = Pump(Outbox())
    with pair() as (ours, theirs), trio.fail_after(10):
        pump.stop(ours)
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await pump.run(ours, reader(ours, []))

            nursery.start_soon(wait)
            await blocked()
            pump.stop(theirs)
            assert len(pump) == 1
            pump.stop(ours)
            pump.stop(ours)
            assert len(pump) == 0
        ours.close()
        pump.stop(ours)
        with pytest.raises(trio.ClosedResourceError):
            await pump.run(ours, reader(ours, []))
    await still_works(pump)


async def test_one_socket_cannot_flow_twice_at_once() -> None:
    pump, got = Pump(Outbox()), list[bytes]()
    with pair() as (ours, theirs), trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump.run, ours, reader(ours, got, b"end"))
            await blocked()
            with pytest.raises(trio.BusyResourceError):
                await pump.run(ours, reader(ours, []))
            theirs.send(b"end")
    assert got == [b"end"]
    await still_works(pump)


async def test_a_socket_closed_without_a_word_harms_nobody_else() -> None:
    pump = Pump(Outbox())
    with pair() as (ours, _), trio.fail_after(10):
        with trio.move_on_after(0.05) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pump.run, ours, reader(ours, []))
                await blocked()
                ours.close()
        assert scope.cancelled_caught
    await still_works(pump)


async def test_a_number_that_is_used_again_belongs_to_its_new_socket() -> None:
    pump, got = Pump(Outbox()), list[bytes]()
    with pair() as (ours, _), trio.fail_after(10):
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await pump.run(ours, reader(ours, []))

            nursery.start_soon(wait)
            await blocked()
            fd = ours.fileno()
            ours.close()
            with pair() as (new, far):
                assert new.fileno() == fd
                far.send(b"end")
                await pump.run(new, reader(new, got, b"end"))
    assert got == [b"end"]
    await still_works(pump)


async def test_after_a_proper_stop_the_number_can_be_used_at_once() -> None:
    pump, got = Pump(Outbox()), list[bytes]()
    with trio.fail_after(20):
        for _ in range(200):
            with pair() as (ours, theirs):
                theirs.send(b"x")
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await pump.run(ours, reader(ours, got))
                theirs.send(b"y")
                await pump.run(ours, reader(ours, got, b"xy"))
    assert got == [b"xy"] * 200
    await still_works(pump)


def test_one_pump_serves_one_run_after_another() -> None:
    pump = Pump(Outbox())
    for _ in range(3):
        trio.run(still_works, pump)

    async def fails() -> None:
        with pair() as (ours, _):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pump.run, ours, reader(ours, []))
                await blocked()
                raise ZeroDivisionError

    with pytest.raises(ExceptionGroup):
        trio.run(fails)
    trio.run(still_works, pump)


async def test_whoever_works_for_long_may_let_the_streams_have_a_turn() -> None:
    pump, got = Pump(Outbox()), list[bytes]()
    pump.round()
    with pair() as (ours, theirs), trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump.run, ours, reader(ours, got, b"end"))
            await blocked()
            for piece in (b"a", b"end"):
                theirs.send(piece)
                pump.round()
                assert got[-1] == piece
            pump.round()
            assert len(pump) == 0
    await still_works(pump)


async def test_while_nothing_comes_nothing_is_done() -> None:
    pump, got = Pump(Outbox()), list[bytes]()
    with pair() as (ours, theirs), pair() as (other, others), trio.move_on_after(0.2):
        others.send(b"x")
        await pump.run(other, lambda: True)  # what it left unread is not looked at any more
        theirs.send(b"x")
        await pump.run(ours, reader(ours, got))
    assert got == [b"x"]
    await still_works(pump)


class OneOfMany:
    """A stream that ends in a way of its own, after some pieces."""

    def __init__(self, pump: Pump, how: str, pauses: list[float]) -> None:
        self.pump, self.how, self.pauses = pump, how, pauses
        self.scope, self.got, self.sent = trio.CancelScope(), list[bytes](), b""

    async def feed(self, ours: socket.socket, theirs: socket.socket) -> None:
        for pause in self.pauses:
            await trio.sleep(pause)
            self.sent += theirs.send(b"x") * b"x"
        match self.how:
            case "cancelled":
                self.scope.cancel()
            case "stopped":
                self.pump.stop(ours)
            case _:
                theirs.shutdown(socket.SHUT_WR)

    async def ending(self, nursery: trio.Nursery) -> str:
        with pair() as (ours, theirs), self.scope:
            read = reader(ours, self.got)

            def step() -> bool:
                over = read()
                if over and self.how == "raised":
                    raise ZeroDivisionError
                return over

            nursery.start_soon(self.feed, ours, theirs)
            try:
                await self.pump.run(ours, step)
            except ZeroDivisionError:
                return "raised"
            except trio.ClosedResourceError:
                return "stopped"
            return "over"
        return "cancelled"


async def test_many_streams_with_random_ends_and_cancellations() -> None:
    dice, pump = random.Random(7), Pump(Outbox())
    ended: list[str] = []

    async def one(nursery: trio.Nursery, how: str) -> None:
        stream = OneOfMany(pump, how, [dice.random() * 0.02 for _ in range(dice.randrange(1, 8))])
        ended.append(await stream.ending(nursery))
        assert ended[-1] == how
        got = b"".join(stream.got)
        assert got == stream.sent if how in {"over", "raised"} else stream.sent.startswith(got)

    with trio.fail_after(40):
        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(one, nursery, dice.choice(["over", "cancelled", "raised", "stopped"]))
    assert len(ended) == 500
    assert not pump._epoll.poll(0)
    await still_works(pump)
