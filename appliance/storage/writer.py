"""The one writer of a file: takes what happened at once, and writes it a second later."""

import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import trio

from appliance.storage.database import Broken, is_broken, set_aside

_PAUSE = 1.0  # seconds between two batches: what a crash of the machine may lose
_LONGEST_PAUSE = 30.0
_BATCH = 100  # more would hold the interpreter for longer than a token may be late
_BREATH = 0.005  # seconds between two batches of one turn
_TIDY_EVERY = 600.0
_LAST_CHANCE = 3.0  # seconds that the last batch may take when we stop


Thing = TypeVar("Thing")
Row = TypeVar("Row")
Row_contra = TypeVar("Row_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long rows are kept.

    Attributes:
        seconds: the age at which one is removed.
        largest: what the file may have, in the measure of its store; beyond it the oldest go.
    """

    seconds: float
    largest: int


@dataclass(frozen=True, slots=True)
class Words:
    """How an operator is told about a file.

    Attributes:
        what: is recorded in it ("usage").
        things: its rows are ("exchanges").
    """

    what: str
    things: str


class Store(Protocol[Row_contra]):
    """An open file. Used by one thread at a time."""

    def add(self, rows: Sequence[Row_contra]) -> None:
        """Write a batch, all of it or nothing; raises sqlite3.Error."""
        ...

    def forget(self, *, before: float, largest: int) -> int:
        """Remove rows that are too old (seconds since 1970) and the oldest where there are too many; how many."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class Writer(Generic[Thing, Row]):
    """Takes things at once and writes their rows a second later.

    Args:
        path: the file.
        keeping: how long.
        now: seconds since 1970.
        row_of: makes the row of a thing that came at a time; called in the thread.
        open_store: opens the file; raises `database.Broken` and whatever `open_database` does.
        words: for the operator.
        room: things that may wait; beyond them the oldest are dropped.

    Attributes:
        keeping: as given; may be changed at any time.
        dropped: things that were lost because they could not be written.
        written: things that are in the file.
        failures: batches that could not be written, and are tried again.
        broken: files that were found broken and set aside.
        bytes: size of the file with its journal, as of the last batch.
        trouble: why they are not being written, in words for the operator; "" when they are.
        watch: told the same whenever it changes.
        timed: told how many seconds each batch took, with waiting for the thread.
    """

    def __init__(
        self,
        path: Path,
        keeping: Keeping,
        now: Callable[[], float],
        row_of: Callable[[float, Thing], Row],
        open_store: Callable[[Path], Store[Row]],
        words: Words,
        *,
        room: int = 100_000,
    ) -> None:
        self._path = path
        self.keeping = keeping
        self._now = now
        self._row_of = row_of
        self._open_store = open_store
        self._words = words
        self._log = logging.getLogger(f"appliance.{words.what}")
        self._waiting: deque[tuple[float, Thing]] = deque()
        self._room = room
        self._store: Store[Row] | None = None
        self._limiter = trio.CapacityLimiter(1)
        self._tidied = -_TIDY_EVERY
        self.dropped = self.written = self.failures = self.broken = self.bytes = 0
        self.trouble = ""
        self.watch: Callable[[str], None] = lambda _: None
        self.timed: Callable[[float], None] = lambda _: None

    def take(self, thing: Thing) -> None:
        """Keep what has just happened for the next batch. Never blocks."""
        if len(self._waiting) >= self._room:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append((self._now(), thing))

    @property
    def waiting(self) -> int:
        """Things that are not in the file yet."""
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
            self.close()

    async def flush(self) -> bool:
        """Write all that waits; whether that was possible."""
        while True:
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            why, began = "it was not written", trio.current_time()  # cancelled before it began
            try:
                why = await trio.to_thread.run_sync(partial(self._write, batch), limiter=self._limiter)
            finally:
                if why:
                    self._waiting.extendleft(reversed(batch))  # in its order, in front of what came meanwhile
            if why:
                self.failures += 1
                while len(self._waiting) > self._room:
                    self._waiting.popleft()
                    self.dropped += 1
            elif batch:
                self.written += len(batch)
                self.timed(trio.current_time() - began)
            if why != self.trouble:
                self._tell(why)
            if why or not self._waiting:
                return not why
            await trio.sleep(_BREATH)

    def _tell(self, why: str) -> None:
        what, things = self._words.what, self._words.things
        if why:
            text = "%s is not being recorded: %s. Serving goes on; up to %d %s wait"
            self._log.warning(text, what, why, self._room, things)
        else:
            self._log.warning("%s is being recorded again; %d %s were lost", what, self.dropped, things)
        self.trouble = why
        self.watch(why)

    def _write(self, batch: Sequence[tuple[float, Thing]]) -> str:
        """In the thread: "" when the batch is in the file, else why not."""
        try:
            if self._store is None:
                self._store = self._open()
            if batch:
                self._store.add([self._row_of(at, thing) for at, thing in batch])
                self.bytes = _size(self._path)
            now = self._now()
            if now - self._tidied >= _TIDY_EVERY:
                self._tidied = now
                self._store.forget(before=now - self.keeping.seconds, largest=self.keeping.largest)
        except sqlite3.DatabaseError as error:
            self.close()  # the next try begins anew
            if is_broken(error):
                self._set_aside(str(error))
            return f"{self._path}: {error}"
        except (OSError, Broken) as error:
            self.close()
            return f"{self._path}: {error}"
        return ""

    def _open(self) -> Store[Row]:
        try:
            return self._open_store(self._path)
        except Broken as error:
            self._set_aside(str(error))
            return self._open_store(self._path)

    def _set_aside(self, why: str) -> None:
        with suppress(OSError):
            aside = set_aside(self._path, self._now())
            self.broken += 1
            text = "the file with %s is broken (%s); it is kept as %s and a new one begins"
            self._log.error(text, self._words.what, why, aside)

    def close(self) -> None:
        """Close the file; what comes later opens it again."""
        store, self._store = self._store, None
        if store is not None:
            with suppress(sqlite3.Error):
                store.close()


def _size(path: Path) -> int:
    with suppress(OSError):
        journal = path.with_name(f"{path.name}-wal")
        return path.stat().st_size + (journal.stat().st_size if journal.exists() else 0)
    return 0
