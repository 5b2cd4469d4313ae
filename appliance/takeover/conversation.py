"""One side of the talk: what is said and heard, kept in its order, and every way that it can fail as one error."""

import os
from collections.abc import Sequence
from typing import TypeVar

from appliance.takeover.channel import Channel, Ended
from appliance.takeover.messages import Garbled, Message, Refusal
from appliance.takeover.talk import OutOfTurn, Phase, Side, follow

M = TypeVar("M", bound=Message)


class Refused(Exception):  # noqa: N818 - a result, not a mistake
    """It will not be; the text says why, for the operator."""


class Conversation:
    """What one side knows.

    Args:
        side: who we are.
        channel: to the other.

    Attributes:
        phase: how far we are.
    """

    def __init__(self, side: Side, channel: Channel) -> None:
        self._side: Side = side
        self._other: Side = "old" if side == "new" else "new"
        self.channel = channel
        self.phase = Phase.BEGUN

    def say(self, message: Message, files: Sequence[int] = ()) -> None:
        """Send it; open files are closed here when they are sent. What cannot be sent is the next `hear`'s to notice.

        Raises:
            OutOfTurn: a bug of ours.
        """
        self.phase = follow(self.phase, self._side, message)
        self.channel.post(message, files)

    def refuse(self, words: str) -> None:
        """Tell the other one why not, if that still matters to it."""
        if self.phase < Phase.TAKEN:
            self.say(Refusal(words))

    async def hear_any(self) -> tuple[Message, list[int]]:
        """The next message; its open files are the caller's.

        Raises:
            Ended: the other one is gone.
            Refused: it will not, or what it says makes no sense.
        """
        try:
            message, files = await self.channel.receive()
        except Garbled as error:
            raise Refused(f"what the {self._other} process says cannot be understood: {error}") from None
        try:
            self.phase = follow(self.phase, self._other, message)
        except OutOfTurn as error:
            _close(files)
            raise Refused(f"the two do not speak the same language: {error}") from None
        if isinstance(message, Refusal):
            _close(files)
            raise Refused(message.words)
        return message, files

    async def hear(self, kind: type[M]) -> tuple[M, list[int]]:
        """The next message, which must be of a kind.

        Raises:
            Ended, Refused: as above.
        """
        message, files = await self.hear_any()
        if not isinstance(message, kind):
            _close(files)
            raise Refused(f"the {self._other} process said {type(message).__name__} in place of {kind.__name__}")
        return message, files


def _close(files: Sequence[int]) -> None:
    for file in files:
        os.close(file)


__all__ = ["Conversation", "Ended", "Refused"]
