import logging
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from appliance.storage.writer import Keeping
from appliance.usage.recorder import Recorder
from appliance.usage.store import DAY, Row, Store

ROW = Row(1_800_000_000.0, "r", "alice", "m", "chat", "t", 200, "ok", "", False, 3, 4, 0, False, None, 0.1, 10)
KEEPING = Keeping(30 * DAY, 2**30)
MADE: list[Recorder[Row]] = []


def recorder(path: Path, *, room: int = 1000, now: Callable[[], float] = lambda: ROW.at) -> Recorder[Row]:
    MADE.append(Recorder(path, KEEPING, now, lambda _at, row: row, room=room))
    return MADE[-1]


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """A file that is left to the garbage collector is a warning, in some other test, since Python 3.13."""
    yield
    while MADE:
        MADE.pop().close()


def rows(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("SELECT count(*) FROM exchanges").fetchone()[0])
    finally:
        connection.close()


async def test_what_was_taken_is_in_the_file_a_second_later(tmp_path: Path) -> None:
    own = recorder(tmp_path / "usage.db")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(own.run)
        for _ in range(3):
            own.take(ROW)
        with trio.fail_after(10):
            while own.waiting:
                await trio.sleep(0.02)
        nursery.cancel_scope.cancel()
    assert rows(tmp_path / "usage.db") == 3


async def test_what_is_left_is_written_at_the_end(tmp_path: Path) -> None:
    own = recorder(tmp_path / "usage.db")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(own.run)
        await trio.sleep(0.1)
        own.take(ROW)
        nursery.cancel_scope.cancel()
    assert rows(tmp_path / "usage.db") == 1


async def test_many_rows_are_written_in_batches(tmp_path: Path) -> None:
    own = recorder(tmp_path / "usage.db", room=20_000)
    for _ in range(12_000):
        own.take(ROW)
    assert await own.flush()
    assert rows(tmp_path / "usage.db") == 12_000


async def test_a_directory_that_is_not_there_stops_nothing_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "later" / "usage.db"
    own = recorder(path, room=5)
    with caplog.at_level(logging.WARNING):
        for _ in range(8):
            own.take(ROW)
            assert not await own.flush()
        assert "No such file" in own.trouble
        assert (own.waiting, own.dropped) == (5, 3)
        path.parent.mkdir()
        assert await own.flush()
    assert own.trouble == ""
    assert rows(path) == 5
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "3 exchanges were lost" in caplog.records[1].getMessage()


async def test_the_order_survives_a_failed_write(tmp_path: Path) -> None:
    path = tmp_path / "later" / "usage.db"
    own = recorder(path)
    for number in range(3):
        own.take(ROW._replace(request_id=str(number)))
    await own.flush()
    own.take(ROW._replace(request_id="3"))
    path.parent.mkdir()
    await own.flush()
    connection = sqlite3.connect(path)
    assert [row[0] for row in connection.execute("SELECT request_id FROM exchanges ORDER BY id")] == [
        "0",
        "1",
        "2",
        "3",
    ]
    connection.close()


async def test_a_file_without_room_keeps_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "usage.db"
    own = recorder(path)
    own.take(ROW)
    await own.flush()
    assert isinstance(own._store, Store)
    pages = own._store._connection.execute("PRAGMA page_count").fetchone()[0]
    own._store._connection.execute(f"PRAGMA max_page_count = {pages}")
    for _ in range(600):
        own.take(ROW)
    assert not await own.flush()
    assert "full" in own.trouble
    assert 0 < own.waiting <= 600
    assert await own.flush()  # opened anew, without the bound
    assert rows(path) == 601


async def test_a_broken_file_is_kept_and_a_new_one_begins(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "usage.db"
    path.write_bytes(b"no database " * 1000)
    own = recorder(path)
    own.take(ROW)
    assert await own.flush()
    assert rows(path) == 1
    assert (tmp_path / f"usage.db.broken-{ROW.at:.0f}").read_bytes().startswith(b"no database")
    assert "a new one begins" in caplog.text


async def test_a_file_that_breaks_while_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "usage.db"
    own = recorder(path)
    own.take(ROW)
    await own.flush()
    own.close()
    data = bytearray(path.read_bytes())
    data[100:] = b"\xff" * (len(data) - 100)
    path.write_bytes(bytes(data))
    own.take(ROW)
    if not await own.flush():  # seen while opening or while writing
        assert await own.flush()
    assert rows(path) == 1


async def test_a_broken_disk_is_tried_less_and_less_often(tmp_path: Path, autojump_clock: MockClock) -> None:
    tries: list[float] = []

    class Counting(Recorder[Row]):
        async def flush(self) -> bool:
            tries.append(trio.current_time())
            return False

    own = Counting(tmp_path / "usage.db", KEEPING, lambda: ROW.at, lambda _at, row: row)
    with trio.move_on_after(100):
        await own.run()
    gaps = [round(b - a) for a, b in pairwise(tries)]
    assert gaps[:6] == [2, 4, 8, 16, 30, 30]


async def test_old_rows_are_removed_now_and_then(tmp_path: Path) -> None:
    now = ROW.at
    own = recorder(tmp_path / "usage.db", now=lambda: now)
    own.take(ROW)
    await own.flush()
    assert rows(tmp_path / "usage.db") == 1
    now += 31 * DAY
    await own.flush()
    assert rows(tmp_path / "usage.db") == 0


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A usage file that nobody may write, root included, until it is unmounted."""
    path = tmp_path / "usage.db"
    Store.open(path).close()
    bind = ["mount", "--bind", str(path), str(path)]
    if shutil.which("mount") is None or subprocess.run(bind, capture_output=True, check=False).returncode != 0:
        pytest.skip("may not mount a file here")
    subprocess.run(["mount", "-o", "remount,bind,ro", str(path)], check=True)
    yield path
    unmount(path)


def unmount(path: Path) -> None:
    subprocess.run(["umount", "-l", str(path)], check=False, capture_output=True)


async def test_a_file_that_may_not_be_written_is_told_and_written_once_it_may(read_only: Path) -> None:
    own = recorder(read_only)
    own.take(ROW)
    assert not await own.flush()
    assert own.standing == {
        "recording": False,
        "trouble": own.trouble,
        "waiting": 1,
        "dropped": 0,
        "broken_files": 0,
    }
    assert "readonly" in own.trouble or "Read-only" in own.trouble
    unmount(read_only)
    assert await own.flush()
    assert own.standing["recording"] is True
    assert rows(read_only) == 1


async def test_a_broken_file_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "usage.db"
    path.write_bytes(b"no database " * 1000)
    own = recorder(path)
    own.take(ROW)
    assert await own.flush()
    assert own.standing["broken_files"] == 1


async def test_what_is_kept_may_change_while_it_runs(tmp_path: Path) -> None:
    now = ROW.at
    own = recorder(tmp_path / "usage.db", now=lambda: now)
    own.take(ROW)
    await own.flush()
    own.keeping = Keeping(60, 2**30)
    now += 700
    await own.flush()
    assert rows(tmp_path / "usage.db") == 0
