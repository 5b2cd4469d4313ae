"""The writer with a store that fails as told; with real files it is in tests/usage and tests/events."""

import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from appliance.storage.writer import Keeping, Words, Writer


class Disk:
    """Opens stores that remember what they were given, or fail."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.failure: Exception | None = None
        self.forgotten: list[tuple[float, int]] = []

    def open(self, _: Path) -> "Disk":
        return self

    def add(self, rows: Sequence[str]) -> None:
        if self.failure is not None:
            raise self.failure
        self.rows += rows

    def forget(self, *, before: float, largest: int) -> int:
        self.forgotten.append((before, largest))
        return 0

    def close(self) -> None:
        pass


def writer(disk: Disk, room: int = 100) -> Writer[str, str]:
    words = Words("things", "things")
    return Writer(Path("/x"), Keeping(10.0, 5), lambda: 1000.0, lambda _, row: row, disk.open, words, room=room)


async def test_things_are_written_in_their_order_a_second_later(autojump_clock: MockClock) -> None:
    autojump_clock.autojump_threshold = 0.5  # the thread that writes has so long, in real time
    disk = Disk()
    own = writer(disk)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(own.run)
        await trio.sleep(0.5)
        own.take("a")
        own.take("b")
        await trio.sleep(1)
        assert disk.rows == ["a", "b"]
        own.take("c")
        nursery.cancel_scope.cancel()
    assert disk.rows == ["a", "b", "c"]
    assert disk.forgotten[0] == (990.0, 5)


async def test_trouble_is_told_once_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    disk, told = Disk(), list[str]()
    own = writer(disk, room=2)
    own.watch = told.append
    disk.failure = sqlite3.OperationalError("database or disk is full")
    disk.failure.sqlite_errorcode = sqlite3.SQLITE_FULL
    with caplog.at_level(logging.WARNING, "appliance.things"):
        for name in "abc":
            own.take(name)
            assert not await own.flush()
        disk.failure = None
        assert await own.flush()
    assert disk.rows == ["b", "c"], "the oldest was dropped"
    assert told == ["/x: database or disk is full", ""]
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert own.standing == {"recording": True, "trouble": "", "waiting": 0, "dropped": 1, "broken_files": 0}


async def test_it_is_counted_what_was_written_and_what_failed_and_timed(tmp_path: Path) -> None:
    disk, seconds = Disk(), list[float]()
    words = Words("things", "things")
    file = tmp_path / "things.db"
    own = Writer(file, Keeping(10.0, 5), lambda: 1000.0, lambda _, row: row, disk.open, words)
    own.timed = seconds.append
    disk.failure = sqlite3.OperationalError("locked")
    disk.failure.sqlite_errorcode = sqlite3.SQLITE_BUSY
    own.take("a")
    await own.flush()
    assert (own.written, own.failures, own.bytes, seconds) == (0, 1, 0, [])
    disk.failure = None
    file.write_bytes(b"x" * 10)
    file.with_name("things.db-wal").write_bytes(b"x" * 5)
    own.take("b")
    await own.flush()
    await own.flush()
    assert (own.written, own.failures, own.bytes) == (2, 1, 15)
    assert len(seconds) == 1, "nothing to write is no batch"


async def test_what_is_cancelled_before_it_is_written_is_written_at_the_end() -> None:
    disk = Disk()
    own = writer(disk)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(own.run)
        own.take("a")
        nursery.cancel_scope.cancel()
    assert disk.rows == ["a"]
