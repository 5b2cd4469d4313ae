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
    """The deadlines of one exchange, which starts when this is made.

    Attributes:
        start: when that was, on trio's clock.
        fresh: nothing has been waited for since.
    """

    __slots__ = ("_end", "deadlines", "fresh", "start")

    def __init__(self, deadlines: Deadlines) -> None:
        self.deadlines = deadlines
        self.start = trio.current_time()
        self.fresh = True
        self._end = self.start + deadlines.total if deadlines.total else math.inf

    def deadline(self, stage: Stage, since: float | None = None) -> float:
        """When a step has to end: by its own deadline or the total's; infinite when both are off.

        Args:
            stage: which one.
            since: when it began, on trio's clock; now when absent.
        """
        seconds = 0.0 if stage == "total" else self.deadlines.seconds(stage)
        if not seconds:
            return self._end
        return min((trio.current_time() if since is None else since) + seconds, self._end)

    def passed(self, stage: Stage, deadline: float) -> UpstreamTimeout:
        """The error for a step whose `deadline` passed; it names the stage or the total, whichever was nearer."""
        nearer: Stage = stage if deadline < self._end else "total"
        return UpstreamTimeout(nearer, self.deadlines.seconds(nearer))

    @contextmanager
    def within(self, stage: Stage) -> Iterator[None]:
        """Bound a step by its own deadline and by what is left of the total.

        Raises:
            UpstreamTimeout: either passed; it names the one that did.
        """
        deadline = self.deadline(stage)
        self.fresh = False
        with trio.CancelScope(deadline=deadline) as scope:
            yield
        if scope.cancelled_caught:
            raise self.passed(stage, deadline)
