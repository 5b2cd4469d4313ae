"""The one writer of the usage file."""

import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import trio

from appliance.usage.store import Broken, Row, Store, is_broken, set_aside

_LOG = logging.getLogger("appliance.usage")
_PAUSE = 1.0  # seconds between two batches: what a crash of the machine may lose
_LONGEST_PAUSE = 30.0
_BATCH = 100  # more would hold the interpreter for longer than a token may be late
_BREATH = 0.005  # seconds between two batches of one turn
_TIDY_EVERY = 600.0
_LAST_CHANCE = 3.0  # seconds that the last batch may take when we stop


Exchange = TypeVar("Exchange")


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long rows are kept.

    Attributes:
        seconds: the age at which an exchange is removed.
        largest: bytes that the file may have; beyond them the oldest exchanges go.
    """

    seconds: float
    largest: int


class Recorder(Generic[Exchange]):
    """Takes exchanges at once and writes them a second later.

    Args:
        path: the file.
        keeping: how long.
        now: seconds since 1970.
        row_of: makes the row of an exchange that ended at a time; called in the thread.
        room: exchanges that may wait; beyond them the oldest are dropped.

    Attributes:
        keeping: as given; may be changed at any time.
        dropped: exchanges that were lost because they could not be written.
        broken: files that were found broken and set aside.
        trouble: why they are not being written, in words for the operator; "" when they are.
    """

    def __init__(
        self,
        path: Path,
        keeping: Keeping,
        now: Callable[[], float],
        row_of: Callable[[float, Exchange], Row],
        *,
        room: int = 100_000,
    ) -> None:
        self._path = path
        self.keeping = keeping
        self._now = now
        self._row_of = row_of
        self._waiting: deque[tuple[float, Exchange]] = deque()
        self._room = room
        self._store: Store | None = None
        self._limiter = trio.CapacityLimiter(1)
        self._tidied = -_TIDY_EVERY
        self.dropped = 0
        self.broken = 0
        self.trouble = ""

    def take(self, exchange: Exchange) -> None:
        """Keep an exchange that has just ended for the next batch. Never blocks."""
        if len(self._waiting) >= self._room:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append((self._now(), exchange))

    @property
    def waiting(self) -> int:
        """Exchanges that are not in the file yet."""
        return len(self._waiting)

    @property
    def standing(self) -> dict[str, object]:
        """How it does, for an operator."""
        return {
            "recording": not self.trouble,
            "trouble": self.trouble,
            "waiting": self.waiting,
            "dropped": self.dropped,
            "broken_files": self.broken,
        }

    async def run(self) -> None:
        """Write until cancelled, then write what is left."""
        pause = _PAUSE
        try:
            while True:
                written = await self.flush()
                pause = _PAUSE if written else min(2 * pause, _LONGEST_PAUSE)
                await trio.sleep(pause)
        finally:
            with trio.move_on_after(_LAST_CHANCE, shield=True):
                await self.flush()
            self._close()

    async def flush(self) -> bool:
        """Write all that waits; whether that was possible."""
        while True:
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            why = await trio.to_thread.run_sync(partial(self._write, batch), limiter=self._limiter)
            if why:
                self._waiting.extendleft(reversed(batch))  # in its order, in front of what came meanwhile
                while len(self._waiting) > self._room:
                    self._waiting.popleft()
                    self.dropped += 1
            if why != self.trouble:
                self._tell(why)
            if why or not self._waiting:
                return not why
            await trio.sleep(_BREATH)

    def _tell(self, why: str) -> None:
        if why:
            _LOG.warning("usage is not being recorded: %s. Serving goes on; up to %d exchanges wait", why, self._room)
        else:
            _LOG.warning("usage is being recorded again; %d exchanges were lost", self.dropped)
        self.trouble = why

    def _write(self, batch: Sequence[tuple[float, Exchange]]) -> str:
        """In the thread: "" when the batch is in the file, else why not."""
        try:
            if self._store is None:
                self._store = self._open()
            if batch:
                self._store.add([self._row_of(at, exchange) for at, exchange in batch])
            now = self._now()
            if now - self._tidied >= _TIDY_EVERY:
                self._tidied = now
                self._store.forget(before=now - self.keeping.seconds, largest=self.keeping.largest)
        except sqlite3.DatabaseError as error:
            self._close()  # the next try begins anew
            if is_broken(error):
                self._set_aside(str(error))
            return f"{self._path}: {error}"
        except (OSError, Broken) as error:
            self._close()
            return f"{self._path}: {error}"
        return ""

    def _open(self) -> Store:
        try:
            return Store.open(self._path)
        except Broken as error:
            self._set_aside(str(error))
            return Store.open(self._path)

    def _set_aside(self, why: str) -> None:
        with suppress(OSError):
            aside = set_aside(self._path, self._now())
            self.broken += 1
            _LOG.error("the usage file is broken (%s); it is kept as %s and a new one begins", why, aside)

    def _close(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            with suppress(sqlite3.Error):
                store.close()
