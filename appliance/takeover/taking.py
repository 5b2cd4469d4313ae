"""The new process's side: it touches nothing before it is told to, and is the server from then on."""

import os
import socket
from typing import Protocol

from appliance.errors import OperatorError
from appliance.limits.handing import Change
from appliance.takeover.channel import Channel, Ended
from appliance.takeover.conversation import Conversation, Refused
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
    Serving,
    Yours,
)
from appliance.takeover.talk import goes_on


class Successor(Protocol):
    """What the new process does with what the old one still says; `taking_over` has it."""

    def changed(self, change: Change) -> None:
        """An exchange over there has done something to an account."""
        ...

    def client(self, sock: socket.socket, peer: str, *, operator: bool) -> None:
        """A connection whose client has no request under way."""
        ...

    def busy(self, replicas: dict[str, int]) -> None:
        """So many exchanges over there use our replicas."""
        ...

    def over(self) -> None:
        """There is nobody over there any more."""
        ...


class Taking:
    """One take-over.

    Args:
        channel: to the old process; somebody runs it.
        version: ours.
        managed: there is a service manager.
    """

    def __init__(self, channel: Channel, version: str, *, managed: bool) -> None:
        self.channel = channel
        self._talk = Conversation("new", channel)
        self._version = version
        self._managed = managed
        self._files: list[int] = []

    async def meet(self, listen: str, state_dir: str) -> tuple[Offer, dict[str, list[int]]]:
        """Say who we are, and hear what there is, with its open files by what they are.

        Raises:
            OperatorError: it is not to be.
        """
        self._talk.say(Hello(PROTOCOL, self._version, os.getpid()))
        try:
            offer, files = await self._talk.hear(Offer)
        except (Ended, Refused) as error:
            raise _left(error) from None
        for ours, theirs, setting in ((listen, offer.listen, "listen"), (state_dir, offer.state_dir, "state_dir")):
            if ours != theirs:
                raise OperatorError(
                    f"`{setting}` is {ours} in the configuration file and {theirs} in the running server: "
                    "a new value needs a restart in place of an upgrade"
                )
        found: dict[str, list[int]] = {}
        for what, file in zip(offer.files, files, strict=True):
            found.setdefault(what, []).append(file)
        return offer, found

    async def agree(self) -> Commit:
        """Everything is held; wait for the word.

        Raises:
            OperatorError: it does not come.
        """
        self._talk.say(Ready())
        try:
            commit, _ = await self._talk.hear(Commit)
        except (Ended, Refused) as error:
            raise _left(error) from None
        return commit

    async def serve(self, successor: Successor) -> None:
        """Connections are being accepted; return when the service manager knows.

        Raises:
            OperatorError: the old process has ended before it could say so, and the manager starts another one.
        """
        self._talk.say(Serving())
        try:
            while not isinstance(await self._one(successor), Yours):
                pass
        except (Ended, Refused) as error:
            if not goes_on("new", self._talk.phase, managed=self._managed):
                raise _left(error) from None

    async def follow(self, successor: Successor) -> None:
        """Take what the old process still gives, until it ends."""
        try:
            while not isinstance(await self._one(successor), Bye):
                pass
        except (Ended, Refused):
            pass
        finally:
            successor.over()
            self.channel.close()

    def refuse(self, words: str) -> None:
        """Tell the old process why it will not be, and hang up."""
        self._talk.refuse(words)
        self.channel.close()

    async def _one(self, successor: Successor) -> object:
        message, files = await self._talk.hear_any()
        match message:
            case Changed(change):
                successor.changed(change)
            case Client(peer, operator):
                successor.client(socket.socket(fileno=files[0]), peer, operator=operator)
            case Busy(replicas):
                successor.busy(replicas)
            case _:
                pass
        return message


def _left(error: Ended | Refused) -> OperatorError:
    why = str(error) if isinstance(error, Refused) else "it has hung up"
    return OperatorError(f"nothing is taken over from the running server: {why}")
