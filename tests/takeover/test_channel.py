import os
import socket
from pathlib import Path

import pytest
import trio
import trio.testing

from appliance.takeover.channel import Channel, Ended
from appliance.takeover.messages import Busy, Bye, Client, Garbled, Offer, Ready, encode


def pair() -> tuple[Channel, Channel]:
    one, other = socket.socketpair()
    return Channel(one), Channel(other)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_messages_and_open_files_arrive_in_order_and_belong_to_the_receiver() -> None:
    old, new = pair()
    before = open_files()
    for number in range(3):
        reading, writing = os.pipe()
        os.write(writing, bytes([number]))
        os.close(writing)
        old.post(Client(str(number), operator=False), [reading])
        old.post(Ready())
    for number in range(3):
        message, files = await new.receive()
        assert message == Client(str(number), operator=False)
        assert os.read(files[0], 9) == bytes([number])
        assert not os.get_inheritable(files[0])
        os.close(files[0])
        assert await new.receive() == (Ready(), [])
    assert open_files() == before
    old.close()
    with pytest.raises(Ended):
        await new.receive()
    new.close()
    new.close()


async def test_what_the_other_side_does_not_take_yet_waits_with_its_files() -> None:
    old, new = pair()
    before = open_files()
    long = Offer(1, "x" * 2_000_000, "/s", ["client"], [], [])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(old.run)
        old.post(long, [os.open(os.devnull, os.O_RDONLY)])
        for _ in range(20):
            old.post(Busy({"m": 1}))
        message, files = await new.receive()
        assert message == long
        os.close(files[0])
        for _ in range(20):
            assert await new.receive() == (Busy({"m": 1}), [])
        await old.flush()
        nursery.cancel_scope.cancel()
    old.close()
    new.close()
    assert open_files() == before - 2


async def test_a_side_that_is_gone_breaks_nothing_and_leaks_nothing() -> None:
    old, new = pair()
    new.close()
    before = open_files()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(old.run)
        old.post(Client("a", operator=True), [os.open(os.devnull, os.O_RDONLY)])
        old.post(Bye())
        await old.flush()
        assert old.broken
        nursery.cancel_scope.cancel()
    assert open_files() == before
    with pytest.raises(Ended):
        await old.receive()
    old.close()


async def test_a_message_without_its_files_is_garbled() -> None:
    one, other = socket.socketpair()
    channel = Channel(other)
    one.sendall(encode(Client("a", operator=False), 1))
    with pytest.raises(Garbled, match="without its open files"):
        await channel.receive()
    channel.close()
    one.close()
