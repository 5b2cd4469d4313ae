"""The last lines of our own log, for whoever reads along in the console: bounded, and never waited for."""

from collections import deque

import trio

from appliance.domain.orders import LogPiece

MOST = 2**18  # characters that are remembered
GATEWAY = ""  # the name of our own log among those of replicas, which have one
_LOOK = 0.25  # seconds between two looks


class Said:
    """What was said last: runs of whole lines, without secrets, as they were written."""

    def __init__(self) -> None:
        self._runs: deque[str] = deque()
        self._size = 0
        self.number = 0  # of runs so far

    def add(self, text: str) -> None:
        """One more run; the oldest go when there is too much. Costs next to nothing: lines are cut by who reads."""
        self._runs.append(text)
        self._size += len(text)
        self.number += 1
        while self._size > MOST and len(self._runs) > 1:
            self._size -= len(self._runs.popleft())

    def lines(self, last: int) -> list[str]:
        """The last lines, oldest first."""
        return "".join(self._runs).splitlines()[-last:] if last > 0 else []

    def since(self, number: int) -> tuple[list[str], bool]:
        """The lines after so many runs, and whether all of them are still there."""
        new = self.number - number
        kept = list(self._runs)[-new:] if new > 0 else []
        return "".join(kept).splitlines(), new <= len(self._runs)


class Reading:
    """Somebody who follows; a `domain.orders.LogReader`.

    Args:
        said: what is followed.
        last: how many lines from before it begins with.
    """

    def __init__(self, said: Said, last: int) -> None:
        self._said = said
        self._seen = said.number
        self._first = said.lines(last)

    async def receive(self, patience: float) -> LogPiece | None:
        """See `domain.orders.LogReader`."""
        await trio.lowlevel.checkpoint()
        if self._first:
            lines, self._first = self._first, []
            return LogPiece(GATEWAY, lines)
        with trio.move_on_after(patience):
            while self._said.number == self._seen:
                await trio.sleep(_LOOK)
            lines, whole = self._said.since(self._seen)
            self._seen = self._said.number
            return LogPiece(GATEWAY, lines, missed=0 if whole else 1)
        return None
