"""The old process's side: until the new one serves, it can go on as if nothing had been."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import trio

from appliance.limits.handing import Change
from appliance.supervisor.process import Process
from appliance.supervisor.spawn import exit_words
from appliance.takeover.channel import Ended
from appliance.takeover.conversation import Conversation, Refused
from appliance.takeover.messages import PROTOCOL, Changed, Commit, Hello, Offer, Ready, Serving, Yours
from appliance.takeover.talk import Phase

_STANDSTILL = 15.0  # seconds that connections may wait to be accepted by the new one
_LAST_MOMENT = 1.0  # seconds for a process that has closed its end to be seen ended


class Estate(Protocol):
    """All that is handed over; `handing_over` has it."""

    async def settled(self) -> str:
        """Return "" when nothing is half-way between two states, else what still is after some time."""
        ...

    def frozen(self) -> AbstractContextManager[None]:
        """Inside, what runs stays as it is."""
        ...

    def offer(self) -> tuple[Offer, list[int]]:
        """What there is, with copies of the open files."""
        ...

    def paused(self) -> AbstractContextManager[None]:
        """Inside, no connection is accepted."""
        ...

    def commit(self, told: Callable[[Change], None]) -> Commit:
        """What the limits stand at; from now on `told` hears of every change."""
        ...

    def take_back(self) -> None:
        """After `commit`: nobody is told any more."""
        ...

    def let_go(self, successor: Hello) -> None:
        """The new one serves: tell the service manager, and look after nothing but the answers under way."""
        ...

    def pass_on(self, conversation: Conversation) -> None:
        """Connections go to the new one as soon as they have no request under way."""
        ...


async def hand_over(estate: Estate, conversation: Conversation, process: Process, patience: float) -> Hello:
    """Hand everything to the other process, which was started with the other end of the conversation.

    Args:
        estate: what is handed over.
        conversation: with it; somebody runs its channel.
        process: it.
        patience: seconds that it may take to come up, and again to take hold of everything.

    Returns:
        Who it is. When this is cancelled or raises, this process is the server as before.

    Raises:
        Refused: it is not to be; the text says why. The other process may still run.
    """
    hello = await _heard(conversation, Hello, process, patience)
    if hello.protocol != PROTOCOL:
        words = (
            f"version {hello.version} cannot take over from a running server of this version (it speaks "
            f"{hello.protocol}, this one {PROTOCOL}): stop the service and start it with the new version"
        )
        conversation.refuse(words)
        raise Refused(words)
    if why := await estate.settled():
        words = f"a model is between two states: {why}. Try again when that has ended"
        conversation.refuse(words)
        raise Refused(words)

    def told(change: Change) -> None:
        if conversation.phase is not Phase.OVER:  # what is cut off at the very end, the other one has let go of
            conversation.say(Changed(change))

    with estate.frozen():
        conversation.say(*estate.offer())
        await _heard(conversation, Ready, process, patience)
        with estate.paused():
            conversation.say(estate.commit(told))
            served = False
            try:
                await _heard(conversation, Serving, process, _STANDSTILL)
                served = True
            finally:
                if not served:
                    estate.take_back()
            estate.let_go(hello)
            conversation.say(Yours())
            estate.pass_on(conversation)
    return hello


async def _heard(
    conversation: Conversation, kind: "type[Hello | Ready | Serving]", process: Process, patience: float
) -> Hello:
    try:
        with trio.fail_after(patience):
            message, _ = await conversation.hear(kind)
    except trio.TooSlowError:
        raise Refused(f"it {_LATE[kind]} within {patience:g} s") from None
    except Ended:
        with trio.move_on_after(_LAST_MOMENT):
            await process.wait()
        how = f"it ended ({exit_words(process.exit_code())})" if process.ended else "it hung up"
        raise Refused(f"{how} before it {_DONE[kind]}; the log has what it said") from None
    return message if isinstance(message, Hello) else Hello(PROTOCOL, "", process.pid)


_LATE = {Hello: "said nothing", Ready: "did not get ready", Serving: "did not begin to serve"}
_DONE = {Hello: "said a word", Ready: "was ready", Serving: "served"}
