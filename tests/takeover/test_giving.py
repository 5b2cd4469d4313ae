"""The old process's side against a new one that says what a test wants."""

import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import pytest
import trio

from appliance.limits.handing import Change
from appliance.supervisor.process import Process
from appliance.takeover import program
from appliance.takeover.channel import Channel
from appliance.takeover.conversation import Conversation, Refused
from appliance.takeover.giving import hand_over
from appliance.takeover.messages import (
    PROTOCOL,
    Bye,
    Changed,
    Commit,
    Hello,
    Message,
    Offer,
    Ready,
    Refusal,
    Serving,
    Yours,
)

USED = Change("key", "a", "ended", 1, 2, 3)
HELLO = Hello(PROTOCOL, "2.0", 77)


class Things:
    """What is handed over: it writes down what happens to it."""

    def __init__(self, unsettled: str = "") -> None:
        self.story: list[str] = []
        self._unsettled = unsettled

    async def settled(self) -> str:
        await trio.lowlevel.checkpoint()
        return self._unsettled

    @contextmanager
    def _inside(self, what: str) -> Iterator[None]:
        self.story.append(what)
        try:
            yield
        finally:
            self.story.append(f"no longer {what}")

    def frozen(self) -> "object":
        return self._inside("frozen")

    def paused(self) -> "object":
        return self._inside("paused")

    def offer(self) -> tuple[Offer, list[int]]:
        self.story.append("offered")
        return Offer(1, "l", "s", [], [], []), []

    def commit(self, told: Callable[[Change], None]) -> Commit:
        self.story.append("committed")
        told_later.append(told)
        return Commit([], [])

    def take_back(self) -> None:
        self.story.append("taken back")

    def let_go(self, successor: Hello) -> None:
        self.story.append(f"let go to {successor.pid}")

    def pass_on(self, conversation: Conversation) -> None:
        self.story.append("passed on")


told_later: list[Callable[[Change], None]] = []
BACK = ["no longer paused", "no longer frozen"]


@asynccontextmanager
async def heard_by(says: Sequence[Message], heard: list[Message]) -> AsyncIterator[Conversation]:
    """A conversation with somebody who says these, one after each thing that it hears."""
    ours, theirs = socket.socketpair()
    old, new = Channel(ours), Channel(theirs)

    async def other() -> None:
        for message in says:
            new.post(message)
            heard.append((await new.receive())[0])
        while True:
            heard.append((await new.receive())[0])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(old.run)
        nursery.start_soon(other)
        yield Conversation("old", old)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    old.close()
    new.close()


@asynccontextmanager
async def asleep() -> AsyncIterator[Process]:
    process = program.start(["/bin/sleep", "1000"], {})
    try:
        yield process
    finally:
        await program.end(process)


async def test_everything_passes_in_its_order() -> None:
    things, heard = Things(), list[Message]()
    async with asleep() as process, heard_by([HELLO, Ready(), Serving()], heard) as conversation:
        assert await hand_over(things, conversation, process, 5) == HELLO  # type: ignore[arg-type]
        told_later[-1](USED)
        conversation.say(Bye())
        told_later[-1](USED)  # nobody is there to hear it
    assert things.story == ["frozen", "offered", "paused", "committed", "let go to 77", "passed on", *BACK]
    assert [type(message) for message in heard] == [Offer, Commit, Yours, Changed, Bye]


@pytest.mark.parametrize(
    ("says", "story", "why"),
    [
        ([], [], "said nothing within 0.2 s"),
        ([Hello(PROTOCOL + 1, "9", 7)], [], "stop the service and start it"),
        ([Refusal("its disk is full")], [], "its disk is full"),
        ([HELLO], ["frozen", "offered", BACK[1]], "did not get ready"),
        ([HELLO, Refusal("no engine")], ["frozen", "offered", BACK[1]], "no engine"),
        (
            [HELLO, Ready(), Refusal("no socket")],
            ["frozen", "offered", "paused", "committed", "taken back", *BACK],
            "no socket",
        ),
    ],
)
async def test_whatever_fails_it_is_as_if_nothing_had_been(says: list[Message], story: list[str], why: str) -> None:
    things = Things()
    async with asleep() as process, heard_by(says, []) as conversation:
        with pytest.raises(Refused, match=why):
            await hand_over(things, conversation, process, 0.2)  # type: ignore[arg-type]
    assert things.story == story


async def test_models_between_two_states_are_not_handed_over() -> None:
    things, heard = Things("m is stopping"), list[Message]()
    async with asleep() as process, heard_by([HELLO], heard) as conversation:
        with pytest.raises(Refused, match="m is stopping"):
            await hand_over(things, conversation, process, 5)  # type: ignore[arg-type]
    assert things.story == []
    assert isinstance(heard[0], Refusal)


async def test_one_that_ends_is_told_with_how_it_ended() -> None:
    ours, theirs = socket.socketpair()
    process = program.start(["/bin/sh", "-c", "exit 9"], {}, talk=theirs)
    theirs.close()
    with pytest.raises(Refused, match=r"it ended \(exit code 9\) before it said a word"):
        await hand_over(Things(), Conversation("old", Channel(ours)), process, 10)  # type: ignore[arg-type]
    await program.end(process)
    ours.close()


async def test_a_stop_in_the_middle_takes_everything_back() -> None:
    things = Things()
    async with asleep() as process, heard_by([HELLO, Ready()], []) as conversation:
        with trio.move_on_after(0.3):
            await hand_over(things, conversation, process, 5)  # type: ignore[arg-type]
    assert things.story[-3:] == ["taken back", *BACK]
