"""Whoever follows the output of a runtime: through restarts, new configurations and rotations of the file.

It waits for nobody and nobody waits for it. What it has not taken when it is overwritten in the tail, it misses.
"""

from collections.abc import Callable, Sequence

import trio

from appliance.domain.orders import LogPiece
from appliance.supervisor.replica import Replica
from appliance.supervisor.tail import LINES, POLL, Reader, Tail

_MOST = 64 * 2**10  # bytes of one piece


class Follower:
    """A `domain.orders.LogReader`.

    Args:
        members: the replicas that are followed, as they are now; raises GatewayError when there are none any more.
        last: lines of each to begin with.
    """

    def __init__(self, members: Callable[[], Sequence[Replica]], last: int) -> None:
        self._members = members
        self._sources = self._tails()
        self._readers = {name: Reader(self._source(name), last) for name in self._sources}
        self._shown = dict(self._sources)  # the tail of which the last lines were

    async def receive(self, patience: float) -> LogPiece | None:
        """See `domain.orders.LogReader`."""
        with trio.move_on_after(patience):
            while (piece := self._next()) is None:
                await trio.sleep(POLL)
            return piece
        return None

    def _next(self) -> LogPiece | None:
        self._sources = self._tails()
        for name in self._sources:
            if name not in self._readers:  # its first process has begun
                self._readers[name] = Reader(self._source(name), LINES)
        for name, reader in list(self._readers.items()):
            piece, tail = reader.take(_MOST), reader.tail
            if piece is not None and tail is not None:
                self._readers[name] = self._readers.pop(name)  # the others come first next time
                fresh = self._shown.setdefault(name, tail) is not tail
                self._shown[name] = tail
                return LogPiece(name, piece.lines, piece.missed, fresh)
            if name not in self._sources:
                del self._readers[name]
        return None

    def _tails(self) -> dict[str, Tail]:
        return {replica.name: replica.tail for replica in self._members() if replica.tail is not None}

    def _source(self, name: str) -> Callable[[], Tail | None]:
        return lambda: self._sources.get(name)
