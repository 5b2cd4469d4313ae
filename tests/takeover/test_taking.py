"""The new process's side against an old one that says what a test wants."""

import os
import socket

import pytest
import trio

from appliance.errors import OperatorError
from appliance.limits.handing import Change
from appliance.takeover.channel import Channel
from appliance.takeover.messages import (
    PROTOCOL,
    Busy,
    Bye,
    Changed,
    Client,
    Commit,
    Hello,
    Offer,
    Ready,
    Refusal,
    Serving,
    Yours,
)
from appliance.takeover.taking import Taking
from appliance.takeover.talk import Phase

USED = Change("key", "a", "ended", 1, 2, 3)


class Told:
    """A successor that writes down what it is given."""

    def __init__(self) -> None:
        self.given: list[object] = []

    def changed(self, change: Change) -> None:
        self.given.append(change)

    def client(self, sock: socket.socket, peer: str, *, operator: bool) -> None:
        self.given.append((peer, operator))
        sock.close()

    def busy(self, replicas: dict[str, int]) -> None:
        self.given.append(replicas)

    def over(self) -> None:
        self.given.append("over")


def pair(*, managed: bool = True) -> tuple[Channel, Taking]:
    one, other = socket.socketpair()
    return Channel(one), Taking(Channel(other), "2.0", managed=managed)


async def test_it_touches_nothing_before_it_is_told_to_and_takes_all_that_follows() -> None:
    old, taking = pair()
    reading, writing = os.pipe()
    old.post(Offer(1, "l", "s", ["client", "lock", "client"], [], []), [reading, writing, os.dup(reading)])
    offer, files = await taking.meet("l", "s")
    assert {what: len(found) for what, found in files.items()} == {"client": 2, "lock": 1}
    assert offer.pid == 1
    for found in files.values():
        for file in found:
            os.close(file)
    assert (await old.receive())[0] == Hello(PROTOCOL, "2.0", os.getpid())
    old.post(Commit([], []))
    assert await taking.agree() == Commit([], [])
    told = Told()
    old.post(Changed(USED))
    old.post(Yours())
    await taking.serve(told)
    assert [(await old.receive())[0] for _ in range(2)] == [Ready(), Serving()]
    one, other = socket.socketpair()
    old.post(Client("10.0.0.1", operator=True), [one.detach()])
    old.post(Busy({"m": 2}))
    old.post(Bye())
    await taking.follow(told)
    assert told.given == [USED, ("10.0.0.1", True), {"m": 2}, "over"]
    assert other.recv(1) == b""  # it is closed everywhere
    other.close()
    old.close()


@pytest.mark.parametrize(("listen", "state_dir", "setting"), [("x", "s", "listen"), ("l", "x", "state_dir")])
async def test_a_setting_that_needs_a_restart_is_refused(listen: str, state_dir: str, setting: str) -> None:
    old, taking = pair()
    old.post(Offer(1, "l", "s", [], [], []))
    with pytest.raises(OperatorError, match=f"`{setting}` is x") as told:
        await taking.meet(listen, state_dir)
    taking.refuse(str(told.value))
    assert [type((await old.receive())[0]) for _ in range(2)] == [Hello, Refusal]
    old.close()


async def test_an_old_one_that_hangs_up_or_refuses_is_told() -> None:
    old, taking = pair()
    old.close()
    with pytest.raises(OperatorError, match="hung up"):
        await taking.meet("l", "s")
    taking.channel.close()
    old, taking = pair()
    old.post(Offer(1, "l", "s", [], [], []))
    await taking.meet("l", "s")
    old.post(Refusal("changed its mind"))
    with pytest.raises(OperatorError, match="changed its mind"):
        await taking.agree()
    old.close()
    taking.channel.close()


@pytest.mark.parametrize("managed", [True, False])
async def test_an_old_one_that_dies_before_the_manager_knows_us(managed: bool) -> None:
    """The manager then starts another one, for which the place must be free; without one somebody has to serve."""
    old, taking = pair(managed=managed)
    taking._talk.phase = Phase.COMMITTED
    old.close()
    with trio.fail_after(5):
        if managed:
            with pytest.raises(OperatorError, match="hung up"):
                await taking.serve(Told())
        else:
            await taking.serve(Told())
            told = Told()
            await taking.follow(told)
            assert told.given == ["over"]
    taking.channel.close()
