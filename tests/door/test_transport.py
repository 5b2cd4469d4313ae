import random
import socket

import pytest
import trio
import trio.testing

from appliance.door.transport import PlainTransport, reset


def pair(buffer: int = 0) -> tuple[PlainTransport, socket.socket]:
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setblocking(False)
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    return PlainTransport(ours), theirs


async def read_all(sock: socket.socket) -> bytes:
    got = b""
    while True:
        await trio.lowlevel.wait_readable(sock)
        piece = sock.recv(1000)
        if not piece:
            return got
        got += piece


async def test_what_does_not_fit_is_sent_as_the_other_side_reads() -> None:
    transport, theirs = pair(4096)
    data = bytes(range(256)) * 2000
    got: list[bytes] = []

    async def reader() -> None:
        got.append(await read_all(theirs))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader)
            await transport.send(data)
            await transport.send(memoryview(data))
            await transport.end()
    assert got == [data + data]
    transport.close()
    theirs.close()


async def test_a_send_can_be_cancelled_when_nobody_reads() -> None:
    transport, theirs = pair(4096)
    with trio.move_on_after(0.1) as scope:
        await transport.send(b"x" * 10**6)
    assert scope.cancelled_caught
    transport.close()
    theirs.close()


async def test_receive_gives_what_is_there_and_then_the_end() -> None:
    transport, theirs = pair()
    theirs.send(b"abc")
    theirs.close()
    assert await transport.receive(2) == b"ab"
    assert await transport.receive() == b"c"
    assert await transport.receive() == b""
    with pytest.raises(ConnectionError):
        await until_broken(transport)
    with pytest.raises(ConnectionError):  # and it stays so
        await until_broken(transport)
    transport.close()
    transport.close()


async def until_broken(transport: PlainTransport) -> None:
    """Write until that fails: what is short may leave a little later, and its failure is told by the next write."""
    with trio.fail_after(10):
        while transport.offer(b"x"):
            await trio.lowlevel.checkpoint()


async def test_closing_wakes_whoever_waits() -> None:
    transport, theirs = pair()

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await transport.receive()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            reset(transport.socket)
            transport.close()
    reset(transport.socket)
    await transport.end()
    theirs.close()


@pytest.mark.parametrize("size", [1, 100, 4096, 50_000])
async def test_offers_and_flushes_and_sends_arrive_in_order(size: int) -> None:
    dice = random.Random(size)
    transport, theirs = pair(4096)
    pieces = [bytes([number % 251]) * dice.randrange(1, size + 1) for number in range(100)]
    got: list[bytes] = []
    full = 0

    async def reader() -> None:
        got.append(await read_all(theirs))

    with trio.fail_after(40):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader)
            for piece in pieces:
                if dice.random() < 0.2:
                    await transport.send(piece)
                elif not transport.offer(piece):
                    full += 1
                    await transport.flush()
                if dice.random() < 0.2:
                    await transport.flush()
                for _ in range(dice.randrange(4)):
                    await trio.lowlevel.checkpoint()
            await transport.end()
    assert b"".join(got) == b"".join(pieces)
    assert full or size < 50_000
    transport.close()
    theirs.close()


async def test_a_reader_that_reads_nothing_is_noticed_by_offers_before_much_is_kept() -> None:
    transport, theirs = pair(4096)
    offered, taken = 0, True
    with trio.fail_after(10):
        while taken:
            taken = transport.offer(b"x" * 1000)
            offered += 1000
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
    assert offered < 1_000_000
    with trio.move_on_after(0.05) as scope:
        await transport.flush()
    assert scope.cancelled_caught
    transport.close()
    theirs.close()


async def test_flushing_ends_when_the_reader_leaves_or_the_socket_is_closed() -> None:
    for ours_closes in (False, True):
        transport, theirs = pair(4096)
        with trio.fail_after(10):
            while transport.offer(b"x" * 100_000):
                await trio.lowlevel.checkpoint()
            async with trio.open_nursery() as nursery:

                async def flush(transport: PlainTransport = transport) -> None:
                    with pytest.raises((OSError, trio.ClosedResourceError)):
                        await transport.flush()

                nursery.start_soon(flush)
                await trio.testing.wait_all_tasks_blocked(0.01)
                transport.close() if ours_closes else theirs.close()
        transport.close()
        theirs.close()


async def test_what_was_offered_last_is_there_before_the_end() -> None:
    transport, theirs = pair()
    assert transport.offer(b"one")
    assert transport.offer(b"two")
    await transport.end()
    transport.close()
    assert await read_all(theirs) == b"onetwo"
    theirs.close()


async def test_nothing_can_be_offered_on_a_closed_socket() -> None:
    transport, theirs = pair()
    transport.close()
    with pytest.raises(OSError):
        await until_broken(transport)
    theirs.close()
