"""The one ordered stream of events: told from anywhere on the event loop, read from any place in it."""

import logging
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import trio

from appliance.domain.events import KINDS, Event, Fact, Wanted
from appliance.errors import GatewayError, OperatorError
from appliance.events.store import Store, forgotten, last_id, read
from appliance.storage.writer import Keeping, Words, Writer

_ROOM = 10_000  # events that are in memory, and that may wait for the disk
_PATIENCE = 5.0  # seconds for a disk to answer somebody who reads what is older than that
_WORDS = Words("events", "events")
_EVERYTHING = Wanted()
_LOG = logging.getLogger("appliance.events")
R = TypeVar("R")


class Journal:
    """Tells, remembers and keeps.

    Args:
        path: the file; read once, here.
        keeping: how long; `largest` is a number of events.
        date: seconds since 1970.
        room: events in memory.

    Attributes:
        writer: writes the file.
    """

    def __init__(self, path: Path, keeping: Keeping, date: Callable[[], float], *, room: int = _ROOM) -> None:
        self._path = path
        self._date = date
        self.writer: Writer[Event, Event] = Writer(path, keeping, date, _itself, Store.open, _WORDS, room=room)
        self._room = room
        self._last = _last(path)
        self._floor = self._last  # all that is greater is in memory
        self._recent: deque[Event] = deque()
        self._turn = trio.Event()
        self._begun = trio.Event()
        self._limiter = trio.CapacityLimiter(2)
        self.ended = False

    @property
    def last(self) -> int:
        """The id of the last event."""
        return self._last

    def keep(self, keeping: Keeping) -> None:
        """Keep them so long from now on."""
        self.writer.keeping = keeping

    def watch(self, told: Callable[[str], None]) -> None:
        """Tell this one why events are not being written whenever that changes; "" when they are."""
        self.writer.watch = told

    @property
    def standing(self) -> dict[str, object]:
        """How its recording does, for an operator."""
        return self.writer.standing

    def tell(self, kind: str, subject: str, words: str, **facts: Fact) -> Event:
        """Something has happened. Takes microseconds and never waits; for the event loop only.

        Args:
            kind: one of `domain.events.KINDS`.
            subject: what it is about.
            words: for people.
            facts: for programs.
        """
        if kind not in KINDS:
            raise ValueError(f"{kind} is no kind of event")
        at = self._date()
        self._last = max(self._last + 1, int(at * 1000))
        event = Event(self._last, at, kind, subject, words, facts)
        if len(self._recent) >= self._room:
            self._floor = self._recent.popleft().id
        self._recent.append(event)
        self.writer.take(event)
        self._wake()
        return event

    @asynccontextmanager
    async def written(self) -> AsyncIterator[None]:
        """Write what is told inside, to the last event; from `begin` on."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, name="events")
            yield
            nursery.cancel_scope.cancel()

    def begin(self) -> None:
        """The state directory is ours: it may be written to."""
        self._begun.set()

    async def _write(self) -> None:
        try:
            await self._begun.wait()
        finally:
            if self._begun.is_set():  # also when it all ends at once: then what was told is still written
                await self.writer.run()

    def end(self) -> None:
        """The server goes away: whoever follows is told so, after all that was told before."""
        self.ended = True
        self._wake()

    async def turned(self, seen: int) -> None:
        """Wait until there is more than what somebody has seen, or the end."""
        while self._last <= seen and not self.ended:
            await self._turn.wait()

    async def after(self, place: int, wanted: Wanted, most: int) -> list[Event]:
        """The first events after a place, oldest first."""
        found: list[Event] = []
        if place < self._floor:
            found = await self._read(wanted, after=place, until=self._floor, most=most, newest=False)
        if len(found) < most:
            found += islice(filter(wanted.has, self._since(place)), most - len(found))
        return found

    async def newest(self, wanted: Wanted, most: int, *, after: int = 0) -> list[Event]:
        """The last events, oldest first."""
        found = [event for event in self._since(after) if wanted.has(event)][-most:] if most else []
        if len(found) < most and after < self._floor:
            most -= len(found)
            found = await self._read(wanted, after=after, until=self._floor, most=most, newest=True) + found
        return found

    async def lost(self, place: int) -> bool:
        """Whether events after a place are not kept any more."""
        if place >= self._floor:
            return False
        return place < (await self._in_thread(partial(forgotten, self._path)) or 0)

    def _since(self, place: int) -> list[Event]:
        if place <= self._floor:
            return list(self._recent)
        return list(self._recent)[bisect_right(self._recent, place, key=lambda event: event.id) :]

    async def _read(self, wanted: Wanted, *, after: int, until: int, most: int, newest: bool) -> list[Event]:
        job = partial(read, self._path, wanted, after=after, until=until, most=most, newest=newest)
        return await self._in_thread(job) or []

    async def _in_thread(self, job: Callable[[], R]) -> R | None:
        """What a look into the file found; None where it cannot be read, or not within reason."""
        try:
            with trio.move_on_after(_PATIENCE):
                return await trio.to_thread.run_sync(job, abandon_on_cancel=True, limiter=self._limiter)
        except OperatorError as error:
            _LOG.warning("older events cannot be read: %s", error)
        return None

    def _wake(self) -> None:
        turn, self._turn = self._turn, trio.Event()
        turn.set()


class Place:
    """Somebody's place in the journal: a number and what was read ahead. Nothing is kept back for whoever is slow."""

    def __init__(self, journal: Journal, after: int, wanted: Wanted = _EVERYTHING) -> None:
        self._journal = journal
        self._after = after
        self._wanted = wanted
        self._ahead: deque[Event] = deque()
        self._looked = False

    async def next(self, patience: float) -> Event | None:
        """The next event; None when there is none for `patience` seconds.

        Raises:
            GatewayError: `draining`: nothing more will come.
        """
        with trio.move_on_after(patience):
            while not self._ahead:
                seen = self._journal.last
                self._ahead.extend(await self._journal.after(self._after, self._wanted, 100))
                if self._ahead:
                    self._after = self._ahead[-1].id
                elif self._journal.ended:
                    raise GatewayError("draining", "The server is going away.")
                else:
                    self._after = max(self._after, seen)  # none of these was wanted
                    await self._journal.turned(seen)
        return self._ahead.popleft() if self._ahead else None

    async def missed(self) -> bool:
        """Whether events that would have come first are not kept any more; told once."""
        looked, self._looked = self._looked, True
        return not looked and await self._journal.lost(self._after)


def _itself(_: float, event: Event) -> Event:
    return event


def _last(path: Path) -> int:
    try:
        return last_id(path)
    except OperatorError as error:
        _LOG.error("the ids of events go on from the time alone: %s", error)
        return 0
