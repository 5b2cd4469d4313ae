"""How long each part of an exchange may take."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import trio

from appliance.errors import UpstreamTimeout

Stage = Literal["connect", "first_byte", "between_bytes", "total"]


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds; 0 is off.

    Attributes:
        connect: opening one connection.
        first_byte: from starting to send a request to the reply's head.
        between_bytes: longest silence inside the reply's body.
        total: the whole exchange, waiting for a free connection included.
    """

    connect: float = 0.0
    first_byte: float = 0.0
    between_bytes: float = 0.0
    total: float = 0.0

    def seconds(self, stage: Stage) -> float:
        """The setting of one stage."""
        if stage == "connect":
            return self.connect
        if stage == "first_byte":
            return self.first_byte
        return self.between_bytes if stage == "between_bytes" else self.total


class Countdown:
    """The deadlines of one exchange, which starts when this is made."""

    def __init__(self, deadlines: Deadlines) -> None:
        self.deadlines = deadlines
        self._end = trio.current_time() + deadlines.total if deadlines.total else math.inf

    @contextmanager
    def within(self, stage: Stage) -> Iterator[None]:
        """Bound a step by its own deadline and by what is left of the total.

        Raises:
            UpstreamTimeout: either passed; it names the one that did.
        """
        seconds = 0.0 if stage == "total" else self.deadlines.seconds(stage)
        step = trio.current_time() + seconds if seconds else math.inf
        with trio.CancelScope(deadline=min(step, self._end)) as scope:
            yield
        if scope.cancelled_caught:
            passed: Stage = stage if step < self._end else "total"
            raise UpstreamTimeout(passed, self.deadlines.seconds(passed))
