"""Streams that flow: `run`, where test_readiness.py has `wait`."""

import random
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import trio
import trio.testing

from appliance.sockets.readiness import Reader, Readiness

Step = Callable[[], bool]


class Ours(Reader):
    """A reader that knows its socket."""

    def __init__(self, sock: socket.socket, room: Readiness) -> None:
        sock.setblocking(False)
        super().__init__(sock, room)
        self.sock = sock


@contextmanager
def pair(room: Readiness) -> Iterator[tuple[Ours, socket.socket]]:
    """Ours and theirs, closed at the end in any case."""
    sock, theirs = socket.socketpair()
    with sock, theirs:
        ours = Ours(sock, room)
        try:
            yield ours, theirs
        finally:
            ours.close()


def reader(ours: Reader, got: list[bytes], last: bytes = b"") -> Step:
    """Reads once; it is over at the end of the stream, or with a certain piece."""

    def step() -> bool:
        try:
            data = ours.read(100)
        except BlockingIOError:
            return False
        got.append(data)
        return data in {b"", last}

    return step


async def blocked() -> None:
    await trio.testing.wait_all_tasks_blocked(0.005)


async def still_works(room: Readiness) -> None:
    assert room.flowing == 0
    with pair(room) as (ours, theirs), trio.fail_after(10):
        got: list[bytes] = []
        theirs.send(b"end")
        await ours.run(reader(ours, got, b"end"))
        assert got == [b"end"]
    assert room.flowing == 0


async def test_a_stream_is_read_until_its_step_says_that_it_is_over() -> None:
    room, got = Readiness(), list[bytes]()
    with pair(room) as (ours, theirs), trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ours.run, reader(ours, got, b"end"))
            for piece in (b"a", b"b", b"end"):
                await blocked()
                assert room.flowing == 1
                theirs.send(piece)
    assert got == [b"a", b"b", b"end"]
    await still_works(room)


async def test_the_same_socket_can_flow_again_and_again() -> None:
    room, got = Readiness(), list[bytes]()
    with pair(room) as (ours, theirs), trio.fail_after(20):
        for number in range(300):
            theirs.send(b"%d" % number)
            await ours.run(reader(ours, got, b"%d" % number))
            assert room.flowing == 0
    assert got == [b"%d" % number for number in range(300)]


async def test_what_was_there_before_is_read_and_what_comes_after_the_end_is_not() -> None:
    room, got = Readiness(), list[bytes]()
    with pair(room) as (ours, theirs), trio.fail_after(10):
        theirs.send(b"one")
        await ours.run(reader(ours, got, b"one"))
        theirs.send(b"two")
        await blocked()
        assert (got, ours.read(100)) == ([b"one"], b"two")


async def test_the_other_side_closes_resets_or_half_closes() -> None:
    room, got = Readiness(), list[bytes]()
    for how in ("close", "half"):
        with pair(room) as (ours, theirs), trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ours.run, reader(ours, got))
                await blocked()
                theirs.close() if how == "close" else theirs.shutdown(socket.SHUT_WR)
    assert got == [b"", b""]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        sock = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    ours = Ours(sock, room)
    with sock, trio.fail_after(10), pytest.raises(ConnectionResetError):
        await ours.run(reader(ours, got))
    ours.close()
    await still_works(room)


async def test_what_a_step_raises_is_raised_in_its_own_task_and_nowhere_else() -> None:
    room, got = Readiness(), list[bytes]()

    def bad() -> bool:
        raise ZeroDivisionError

    with pair(room) as (ours, theirs), pair(room) as (other, others), trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other.run, reader(other, got, b"end"))
            theirs.send(b"x")
            with pytest.raises(ZeroDivisionError):
                await ours.run(bad)
            assert room.flowing == 1
            others.send(b"end")
    assert got == [b"end"]
    await still_works(room)


async def test_cancelling_leaves_nothing_behind_and_the_socket_is_of_use() -> None:
    room, got = Readiness(), list[bytes]()
    with pair(room) as (ours, theirs), trio.fail_after(10):
        for _ in range(3):
            with trio.CancelScope() as scope:
                scope.cancel()
                await ours.run(reader(ours, got))
            assert (scope.cancelled_caught, room.flowing) == (True, 0)
            with trio.move_on_after(0.01) as scope:
                await ours.run(reader(ours, got))
            assert (scope.cancelled_caught, room.flowing) == (True, 0)
        theirs.send(b"end")
        await ours.run(reader(ours, got, b"end"))
    assert got == [b"end"]
    await still_works(room)


@pytest.mark.parametrize("after", ["goes on", "is over", "raises"])
async def test_a_step_may_cancel_its_own_task(after: str) -> None:
    room = Readiness()
    with pair(room) as (ours, theirs), trio.fail_after(10), trio.CancelScope() as scope:

        def step() -> bool:
            ours.read(100)
            scope.cancel()
            if after == "raises":
                raise ZeroDivisionError
            return after == "is over"

        theirs.send(b"x")
        await ours.run(step)
    assert scope.cancelled_caught
    await still_works(room)


@pytest.mark.parametrize("after", ["goes on", "is over", "raises"])
async def test_a_step_may_close_its_own_socket(after: str) -> None:
    room = Readiness()
    with pair(room) as (ours, theirs), trio.fail_after(10):

        def step() -> bool:
            ours.close()
            ours.sock.close()
            if after == "raises":
                raise ZeroDivisionError
            return after == "is over"

        theirs.send(b"x")
        with pytest.raises(trio.ClosedResourceError):
            await ours.run(step)
    await still_works(room)


async def test_two_streams_of_one_round_where_one_closes_the_other() -> None:
    room, ended = Readiness(), list[str]()
    with pair(room) as (one, far_one), pair(room) as (two, far_two), trio.fail_after(10):

        def closes(own: Ours, other: Ours) -> Step:
            def step() -> bool:
                own.read(100)
                other.close()
                other.sock.close()
                return True

            return step

        async def run(sock: Ours, step: Step) -> None:
            try:
                await sock.run(step)
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
    await still_works(room)


async def is_told(ours: Reader) -> None:
    """That its socket is closed, while it waits or when it comes."""
    with pytest.raises(trio.ClosedResourceError):
        await ours.run(reader(ours, []))


async def test_stop_tells_whoever_waits_and_nobody_else() -> None:
    room = Readiness()
    with pair(room) as (ours, _), trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(is_told, ours)
            await blocked()
            assert room.flowing == 1
            ours.close()
            ours.close()
            assert room.flowing == 0
        await is_told(ours)
    await still_works(room)


async def test_one_socket_cannot_flow_twice_at_once() -> None:
    room, got = Readiness(), list[bytes]()
    with pair(room) as (ours, theirs), trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ours.run, reader(ours, got, b"end"))
            await blocked()
            with pytest.raises(trio.BusyResourceError):
                await ours.run(reader(ours, []))
            theirs.send(b"end")
    assert got == [b"end"]
    await still_works(room)


async def test_a_socket_closed_without_a_word_harms_nobody_else() -> None:
    room = Readiness()
    with pair(room) as (ours, _), trio.fail_after(10):
        with trio.move_on_after(0.05) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ours.run, reader(ours, []))
                await blocked()
                ours.sock.close()
        assert scope.cancelled_caught
    await still_works(room)


async def test_a_number_that_is_used_again_belongs_to_its_new_socket() -> None:
    room, got = Readiness(), list[bytes]()
    with pair(room) as (ours, _), trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(is_told, ours)
            await blocked()
            fd = ours.sock.fileno()
            ours.sock.close()
            with pair(room) as (new, far):
                assert new.sock.fileno() == fd
                far.send(b"end")
                await new.run(reader(new, got, b"end"))
    assert got == [b"end"]
    await still_works(room)


def test_one_set_serves_one_run_after_another() -> None:
    room = Readiness()
    for _ in range(3):
        trio.run(still_works, room)

    async def fails() -> None:
        with pair(room) as (ours, _):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ours.run, reader(ours, []))
                await blocked()
                raise ZeroDivisionError

    with pytest.raises(ExceptionGroup):
        trio.run(fails)
    trio.run(still_works, room)


async def test_whoever_works_for_long_may_let_the_streams_have_a_turn() -> None:
    room, got = Readiness(), list[bytes]()
    room.relay()
    with pair(room) as (ours, theirs), trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ours.run, reader(ours, got, b"end"))
            await blocked()
            for piece in (b"a", b"end"):
                theirs.send(piece)
                room.relay()
                assert got[-1] == piece
            room.relay()
            assert room.flowing == 0
    await still_works(room)


async def test_while_nothing_comes_nothing_is_done() -> None:
    room, got = Readiness(), list[bytes]()
    with pair(room) as (ours, theirs), pair(room) as (other, others), trio.move_on_after(0.2):
        others.send(b"x")
        await other.run(lambda: True)  # what it left unread is not looked at any more
        theirs.send(b"x")
        await ours.run(reader(ours, got))
    assert got == [b"x"]
    await still_works(room)


class OneOfMany:
    """A stream that ends in a way of its own, after some pieces."""

    def __init__(self, room: Readiness, how: str, pauses: list[float]) -> None:
        self.room, self.how, self.pauses = room, how, pauses
        self.scope, self.got, self.sent = trio.CancelScope(), list[bytes](), b""

    async def feed(self, ours: Ours, theirs: socket.socket) -> None:
        for pause in self.pauses:
            await trio.sleep(pause)
            self.sent += theirs.send(b"x") * b"x"
        match self.how:
            case "cancelled":
                self.scope.cancel()
            case "stopped":
                ours.close()
            case _:
                theirs.shutdown(socket.SHUT_WR)

    async def ending(self, nursery: trio.Nursery) -> str:
        with pair(self.room) as (ours, theirs), self.scope:
            read = reader(ours, self.got)

            def step() -> bool:
                over = read()
                if over and self.how == "raised":
                    raise ZeroDivisionError
                return over

            nursery.start_soon(self.feed, ours, theirs)
            try:
                await ours.run(step)
            except ZeroDivisionError:
                return "raised"
            except trio.ClosedResourceError:
                return "stopped"
            return "over"
        return "cancelled"


async def test_many_streams_with_random_ends_and_cancellations() -> None:
    dice, room = random.Random(7), Readiness()
    ended: list[str] = []

    async def one(nursery: trio.Nursery, how: str) -> None:
        stream = OneOfMany(room, how, [dice.random() * 0.02 for _ in range(dice.randrange(1, 8))])
        ended.append(await stream.ending(nursery))
        assert ended[-1] == how
        got = b"".join(stream.got)
        assert got == stream.sent if how in {"over", "raised"} else stream.sent.startswith(got)

    with trio.fail_after(40):
        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(one, nursery, dice.choice(["over", "cancelled", "raised", "stopped"]))
    assert len(ended) == 500
    assert not room._epoll.poll(0)
    await still_works(room)
