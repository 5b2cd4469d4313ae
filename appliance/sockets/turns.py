"""Who is woken next, when many could be while streams flow.

A task that is woken works for 0.1 to 0.3 ms: with a crowd of new requests in one turn of the event loop, an answer that
has begun would wait for all of them before its tokens could flow. So a few are woken in each turn, and those who wait
for answers come first.
"""

from collections import deque
from typing import Protocol

from appliance.sockets.dozing import Dozing

_IN_ONE_TURN = 4


class Sleeper(Protocol):
    """Who is to be woken.

    Attributes:
        urgent: waits for an answer, not for a request.
    """

    urgent: bool

    def wake(self) -> bool:
        """It is its turn; whether it still waited."""
        ...


class Turns:
    """The queue of a process."""

    def __init__(self) -> None:
        self._urgent: deque[Sleeper] = deque()
        self._others: deque[Sleeper] = deque()
        self._task = Dozing(self._next_ones, "turns")

    def queue(self, sleeper: Sleeper) -> None:
        """Wake it in this turn or one of the next ones."""
        (self._urgent if sleeper.urgent else self._others).append(sleeper)
        self._task.wake()

    def _next_ones(self) -> bool:
        left = _IN_ONE_TURN
        while left and (waiting := self._urgent or self._others):
            left -= waiting.popleft().wake()
        return bool(self._urgent or self._others)
