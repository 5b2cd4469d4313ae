"""Who may say what when, and what becomes of the one when the other ends. Pure."""

import enum
from types import MappingProxyType
from typing import Literal

from appliance.takeover.messages import (
    Busy,
    Bye,
    Changed,
    Client,
    Commit,
    Hello,
    Message,
    Offer,
    Ready,
    Refusal,
    Serving,
    Yours,
)

Side = Literal["old", "new"]


class Phase(enum.IntEnum):
    """How far they are; see the room's picture."""

    BEGUN = 0
    GREETED = 1
    OFFERED = 2
    AGREED = 3
    COMMITTED = 4
    TAKEN = 5
    OURS = 6
    OVER = 7
    REFUSED = 8


_STEPS: "MappingProxyType[tuple[Phase, type[Message]], Phase]" = MappingProxyType(
    {
        (Phase.BEGUN, Hello): Phase.GREETED,
        (Phase.GREETED, Offer): Phase.OFFERED,
        (Phase.OFFERED, Ready): Phase.AGREED,
        (Phase.AGREED, Commit): Phase.COMMITTED,
        (Phase.COMMITTED, Serving): Phase.TAKEN,
        (Phase.TAKEN, Yours): Phase.OURS,
        (Phase.OURS, Bye): Phase.OVER,
        # Exchanges of the old process go on all the time, and from the commit on the new one counts them.
        **{(phase, Changed): phase for phase in (Phase.COMMITTED, Phase.TAKEN, Phase.OURS)},
        (Phase.OURS, Client): Phase.OURS,
        (Phase.OURS, Busy): Phase.OURS,
        **{(phase, Refusal): Phase.REFUSED for phase in Phase if phase < Phase.TAKEN},
    }
)
_NEW_SAYS = (Hello, Ready, Serving)


class OutOfTurn(Exception):  # noqa: N818 - a state of the conversation
    """A message that does not belong here."""


def follow(phase: Phase, speaker: Side, message: Message) -> Phase:
    """The phase after a message.

    Raises:
        OutOfTurn: it is not the time for it, or not the other's to say.
    """
    said_by: Side = "new" if isinstance(message, _NEW_SAYS) else "old"
    step = _STEPS.get((phase, type(message)))
    if step is None or (said_by != speaker and not isinstance(message, Refusal)):
        raise OutOfTurn(f"{type(message).__name__} by the {speaker} process in phase {phase.name}")
    return step


def serves(side: Side, phase: Phase) -> bool:
    """Whether this side is the server, by what it has said and heard. The other one's word counts when it is heard, so
    for a moment both may think so; the one who accepts connections then is the new one.
    """
    return (side == "new") == (Phase.TAKEN <= phase <= Phase.OVER)


def goes_on(side: Side, phase: Phase, *, managed: bool) -> bool:
    """Whether a side goes on serving when the other one has ended without a word.

    The new one is nobody until it serves. Between that and `Yours` the service manager does not know it: it takes the
    old one's death for the service's and starts another one, for which the place must be free.

    Args:
        side: who has to decide.
        phase: as it knows it.
        managed: there is a service manager.
    """
    if side == "old":
        return serves(side, phase)
    return phase in (Phase.OURS, Phase.OVER) or (phase is Phase.TAKEN and not managed)
