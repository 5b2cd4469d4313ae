import socket
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from appliance.sockets.outbox import Outbox, Writer

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    yield ours, theirs
    ours.close()
    theirs.close()


def there(sock: socket.socket) -> bytes:
    """What can be read now."""
    got = b""
    try:
        while piece := sock.recv(65536):
            got += piece
    except BlockingIOError:
        pass
    return got


async def test_what_is_written_in_a_turn_leaves_together_and_in_order(pair: Pair) -> None:
    ours, theirs = pair
    writer = Writer(ours, Outbox())
    writer.write(b"one ")
    writer.write(b"two ")
    assert there(theirs) == b""
    await trio.testing.wait_all_tasks_blocked()
    assert there(theirs) == b"one two "
    assert writer.idle
    writer.write(b"three")
    await trio.testing.wait_all_tasks_blocked()
    assert there(theirs) == b"three"


async def test_a_flush_of_the_outbox_sends_at_once_and_nothing_twice(pair: Pair) -> None:
    ours, theirs = pair
    outbox = Outbox()
    writer = Writer(ours, outbox)
    writer.write(b"now")
    outbox.flush()
    assert there(theirs) == b"now"
    await trio.testing.wait_all_tasks_blocked()
    assert there(theirs) == b""


async def test_what_the_kernel_does_not_take_follows_as_the_other_side_reads(pair: Pair) -> None:
    ours, theirs = pair
    writer = Writer(ours, Outbox())
    data = bytes(range(256)) * 400
    writer.write(data)
    await trio.testing.wait_all_tasks_blocked()
    assert writer.blocked
    writer.write(b"behind")
    got = b""
    with trio.fail_after(10):
        while len(got) < len(data) + 6:
            await trio.lowlevel.wait_readable(theirs)
            got += there(theirs)
        await writer.flush()
    assert got == data + b"behind"
    assert writer.idle
    assert not writer.blocked


async def test_flush_waits_until_everything_is_with_the_kernel(pair: Pair) -> None:
    ours, theirs = pair
    writer = Writer(ours, Outbox())
    writer.write(b"x" * 100_000)
    order: list[str] = []

    async def flush() -> None:
        await writer.flush()
        order.append("flushed")

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flush)
            await trio.testing.wait_all_tasks_blocked()
            order.append("waits")
            while "flushed" not in order:
                there(theirs)
                await trio.sleep(0.001)
    assert order == ["waits", "flushed"]


async def test_a_flush_can_be_cancelled_and_the_bytes_go_on(pair: Pair) -> None:
    ours, theirs = pair
    writer = Writer(ours, Outbox())
    writer.write(b"x" * 100_000)
    with trio.move_on_after(0.05) as scope:
        await writer.flush()
    assert scope.cancelled_caught
    got = 0
    with trio.fail_after(10):
        while got < 100_000:
            await trio.lowlevel.wait_readable(theirs)
            got += len(there(theirs))


async def test_a_broken_connection_is_told_at_the_next_write(pair: Pair) -> None:
    ours, theirs = pair
    writer = Writer(ours, Outbox())
    theirs.close()
    writer.write(b"lost")
    await trio.testing.wait_all_tasks_blocked()
    assert not writer.idle
    with pytest.raises(BrokenPipeError):
        writer.write(b"more")
    with pytest.raises(BrokenPipeError):
        await writer.flush()


async def test_it_is_known_what_the_kernel_never_took(pair: Pair) -> None:
    ours, theirs = pair
    outbox = Outbox()
    writer = Writer(ours, outbox)
    writer.write(b"request")
    assert writer.unsent == 7
    theirs.close()
    outbox.flush()
    assert writer.unsent == 7
    assert not writer.idle


async def test_a_reader_that_breaks_off_wakes_whoever_waits(pair: Pair) -> None:
    ours, theirs = pair
    writer = Writer(ours, Outbox())
    writer.write(b"x" * 100_000)

    async def flush() -> None:
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            await writer.flush()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flush)
            await trio.testing.wait_all_tasks_blocked()
            theirs.close()


async def test_closing_sends_what_goes_and_wakes_whoever_waits(pair: Pair) -> None:
    ours, theirs = pair
    writer = Writer(ours, Outbox())
    writer.write(b"last words")
    writer.close()
    assert there(theirs) == b"last words"
    with pytest.raises(BrokenPipeError):
        writer.write(b"too late")
    writer.close()


async def test_closing_a_blocked_one_ends_its_wait(pair: Pair) -> None:
    ours, _ = pair
    writer = Writer(ours, Outbox())
    writer.write(b"x" * 100_000)

    async def flush() -> None:
        with pytest.raises(BrokenPipeError):
            await writer.flush()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flush)
            await trio.testing.wait_all_tasks_blocked()
            writer.close()
            trio.lowlevel.notify_closing(ours)
            ours.close()


def test_one_outbox_can_serve_two_runs_of_the_loop(pair: Pair) -> None:
    ours, theirs = pair
    outbox = Outbox()

    async def once() -> None:
        Writer(ours, outbox).write(b"x")
        await trio.testing.wait_all_tasks_blocked()

    for _ in range(2):
        trio.run(once)
        assert there(theirs) == b"x"


async def test_in_a_turn_that_takes_long_nothing_waits_for_its_end(pair: Pair) -> None:
    ours, theirs = pair
    other, their_other = socket.socketpair()
    outbox = Outbox()
    Writer(ours, outbox).write(b"first")
    end = trio.current_time() + 0.01
    while trio.current_time() < end:
        pass
    Writer(other, outbox).write(b"second")
    assert there(theirs) == b"first"
    other.close()
    their_other.close()
