import os
import socket

import pytest

from appliance.takeover.channel import Channel, Ended
from appliance.takeover.conversation import Conversation, Refused
from appliance.takeover.messages import Client, Hello, Offer, Ready, Refusal, encode
from appliance.takeover.talk import OutOfTurn, Phase


def pair() -> tuple[Conversation, Conversation]:
    one, other = socket.socketpair()
    return Conversation("old", Channel(one)), Conversation("new", Channel(other))


def close(*sides: Conversation) -> None:
    for side in sides:
        side.channel.close()


async def test_both_know_how_far_they_are() -> None:
    old, new = pair()
    new.say(Hello(1, "1", 7))
    assert (await old.hear(Hello))[0] == Hello(1, "1", 7)
    old.say(Offer(1, "l", "s", [], [], []))
    await new.hear(Offer)
    assert (old.phase, new.phase) == (Phase.OFFERED, Phase.OFFERED)
    close(old, new)


async def test_a_refusal_is_told_in_its_own_words_and_only_while_it_matters() -> None:
    old, new = pair()
    new.say(Hello(1, "1", 7))
    await old.hear(Hello)
    old.refuse("not today")
    with pytest.raises(Refused, match="not today"):
        await new.hear(Offer)
    new.phase = Phase.OURS
    new.refuse("too late")
    new.channel.close()
    with pytest.raises(Ended):
        await old.hear_any()
    close(old)


async def test_what_makes_no_sense_is_refused_and_its_files_are_closed() -> None:
    one, other = socket.socketpair()
    old = Conversation("old", Channel(one))
    other.sendall(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(Refused, match="cannot be understood"):
        await old.hear(Hello)
    close(old)
    other.close()
    old, new = pair()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    new.channel.post(Client("a", operator=False), [os.open(os.devnull, os.O_RDONLY)])
    with pytest.raises(Refused, match="do not speak the same language"):
        await old.hear(Hello)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    new.channel.post(Hello(1, "1", 7))
    with pytest.raises(Refused, match="said Hello in place of Ready"):
        await old.hear(Ready)
    close(old, new)


async def test_what_is_not_ours_to_say_is_a_bug() -> None:
    old, new = pair()
    with pytest.raises(OutOfTurn):
        old.say(Hello(1, "1", 7))
    close(old, new)
    assert encode(Refusal("x"))
