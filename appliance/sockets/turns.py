"""Who is woken next, when many could be while streams flow.

A task that is woken works for 0.1 to 0.3 ms: with a crowd of new requests in one turn of the event loop, an answer that
has begun would wait for all of them before its tokens could flow. So a few are woken in each turn, and those who wait
for answers come first.
"""

from collections import deque
from typing import Protocol

import trio

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
        self._running = False
        self._asleep: trio.lowlevel.Task | None = None

    def queue(self, sleeper: Sleeper) -> None:
        """Wake it in this turn or one of the next ones."""
        (self._urgent if sleeper.urgent else self._others).append(sleeper)
        if self._asleep is not None:
            trio.lowlevel.reschedule(self._asleep)
            self._asleep = None
        elif not self._running:
            self._running = True
            trio.lowlevel.spawn_system_task(self._run, name="turns")

    def _next_ones(self) -> None:
        left = _IN_ONE_TURN
        while left and (waiting := self._urgent or self._others):
            left -= waiting.popleft().wake()

    async def _run(self) -> None:
        """Nothing here may raise: an error in a system task ends the program."""
        try:
            while True:
                self._next_ones()
                if self._urgent or self._others:
                    await trio.lowlevel.cancel_shielded_checkpoint()
                else:
                    self._asleep = trio.lowlevel.current_task()
                    await trio.lowlevel.wait_task_rescheduled(self._stop)
        finally:
            self._running = False

    def _stop(self, _: object) -> trio.lowlevel.Abort:
        self._asleep = None
        return trio.lowlevel.Abort.SUCCEEDED
