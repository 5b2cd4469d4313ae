import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from appliance.domain.events import Event, Wanted, kinds_of
from appliance.errors import GatewayError
from appliance.events.journal import Journal, Place
from appliance.storage.writer import Keeping

ALL = Wanted()
MADE: list[Journal] = []


class Clock:
    """Seconds since 1970, as told."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def journal(path: Path, clock: Clock | None = None, *, room: int = 10_000, most: int = 10**6) -> Journal:
    own = Journal(path, Keeping(86_400.0, most), clock or Clock(), room=room)
    own.begin()
    MADE.append(own)
    return own


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """A file that is left to the garbage collector is a warning, in some other test, since Python 3.13."""
    yield
    while MADE:
        MADE.pop().writer.close()


async def take(place: Place, count: int) -> list[Event]:
    found = [await place.next(10) for _ in range(count)]
    return [event for event in found if event is not None]


async def test_ids_rise_whatever_the_clock_does_and_over_restarts(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "events.db"
    first = journal(path, clock)
    async with first.written():
        ids = [first.tell("key.created", "a", "x").id for _ in range(3)]
        clock.now += 1
        ids.append(first.tell("key.created", "a", "x").id)
        clock.now -= 3600
        ids.append(first.tell("key.created", "a", "x").id)
    assert ids[0] == 1_800_000_000_000
    second = journal(path, clock)
    ids.append(second.tell("key.created", "a", "x").id)
    assert ids == sorted(set(ids))
    assert [event.id for event in await second.newest(ALL, 9)] == ids


async def test_a_kind_that_there_is_not_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no kind of event"):
        journal(tmp_path / "events.db").tell("key.lost", "a", "x")


async def test_whoever_comes_back_after_a_restart_misses_nothing_and_gets_nothing_twice(tmp_path: Path) -> None:
    path, seen = tmp_path / "events.db", []
    one = journal(path)
    async with one.written():
        told = [one.tell("key.created", str(number), "x").id for number in range(250)]
        seen += await take(Place(one, 0), 7)
    again = journal(path)
    told += [again.tell("key.created", str(number), "x").id for number in range(250)]
    place = Place(again, seen[-1].id)
    assert not await place.missed()
    seen += await take(place, 493)
    assert [event.id for event in seen] == told
    assert await Place(again, told[-1]).next(0.05) is None


@settings(max_examples=12, deadline=None)
@given(
    room=st.integers(1, 8),
    steps=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8),
)
def test_a_reader_of_any_pace_gets_every_event_once_in_order(
    tmp_path_factory: pytest.TempPathFactory, room: int, steps: list[tuple[int, int]]
) -> None:
    """What memory does not have any more is in the file, as long as the file can be written."""
    path = tmp_path_factory.mktemp("journal") / "events.db"

    async def story() -> tuple[list[int], list[int]]:
        own, told = journal(path, room=room), list[int]()
        place, seen = Place(own, 0), list[int]()
        for tells, reads in steps:
            for number in range(tells):
                told.append(own.tell("key.created", "a", "x").id)
                if number % room == room - 1:
                    await own.writer.flush()
            await own.writer.flush()
            seen += [event.id for event in await take_some(place, min(reads, len(told) - len(seen)))]
        seen += [event.id for event in await take_some(place, len(told) - len(seen))]
        return told, seen

    async def take_some(place: Place, count: int) -> list[Event]:
        with trio.fail_after(20):
            return await take(place, count)

    told, seen = trio.run(story)
    assert seen == told


async def test_a_reader_waits_for_what_comes_and_only_for_what_it_wants(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    own = journal(tmp_path / "events.db")
    place, got = Place(own, own.last, Wanted(kinds_of("gpu"), "GPU 1")), list[Event | None]()

    async def follow() -> None:
        got.append(await place.next(60))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await trio.sleep(1)
        own.tell("gpu.fault", "GPU 0", "x")
        own.tell("key.created", "GPU 1", "x")
        await trio.sleep(1)
        assert got == []
        own.tell("gpu.fault", "GPU 1", "x")
    assert [event.subject for event in got if event] == ["GPU 1"]
    assert await place.next(5) is None


async def test_the_end_comes_after_everything_that_was_told_before(tmp_path: Path) -> None:
    own = journal(tmp_path / "events.db")
    place = Place(own, 0)
    own.tell("server.stopping", "1", "x")
    own.end()
    assert await place.next(10) is not None
    with pytest.raises(GatewayError, match="going away"):
        await place.next(10)


async def test_what_is_not_kept_any_more_is_told_to_whoever_comes_back(tmp_path: Path) -> None:
    path, clock = tmp_path / "events.db", Clock()
    one = journal(path, clock, most=100)
    async with one.written():
        first = one.tell("key.created", "a", "x").id
        for _ in range(300):
            one.tell("key.created", "a", "x")
    clock.now += 3600
    two = journal(path, clock, most=100)
    async with two.written():  # it tidies up when it begins
        with trio.fail_after(10):
            while not await two.lost(first):
                await trio.sleep(0.02)
    place = Place(two, first)
    assert await place.missed()
    assert not await place.missed(), "once"
    assert len(await two.after(first, ALL, 1000)) == 100
    assert not await Place(two, two.last).missed()


async def test_a_disk_that_cannot_be_written_stops_nothing_that_is_told_or_read(tmp_path: Path) -> None:
    own = journal(tmp_path / "nowhere" / "events.db", room=5)
    async with own.written():
        ids = [own.tell("key.created", "a", "x").id for _ in range(8)]
        with trio.fail_after(10):
            while not own.standing["trouble"]:
                await trio.sleep(0.02)
        assert [event.id for event in await own.newest(ALL, 9)] == ids[3:]
        assert [event.id for event in await own.after(ids[5], ALL, 9)] == ids[6:]


async def test_a_broken_file_is_set_aside_and_ids_go_on(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    path.write_bytes(b"no database " * 1000)
    own = journal(path)
    async with own.written():
        assert own.tell("key.created", "a", "x").id == 1_800_000_000_000
    assert Path(f"{path}.broken-1800000000").exists()  # noqa: ASYNC240 - a test may wait
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM events").fetchone()[0] == 1
    connection.close()


async def test_nothing_is_written_before_the_directory_is_ours(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    own = Journal(path, Keeping(86_400.0, 9), Clock())
    async with own.written():
        own.tell("key.created", "a", "x")
        await trio.testing.wait_all_tasks_blocked()
    assert not path.exists()
