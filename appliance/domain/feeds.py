"""What goes on for as long as somebody reads it: pieces, one after the other, whatever carries them."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Piece:
    """What a reader gets at a time.

    Attributes:
        data: one JSON object, without line breaks.
        id: where a reader that comes back goes on; "" where it cannot.
        event: what it is, where there are several kinds; "" for the ordinary one.
    """

    data: bytes
    id: str = ""
    event: str = ""


class Feed(Protocol):
    """Somebody's place in what is told. Closing it takes nothing: it holds only numbers."""

    async def receive(self, patience: float) -> Piece | None:
        """The next piece; None when there is none for `patience` seconds.

        Raises:
            GatewayError: nothing more will come; its message says why.
        """
        ...
