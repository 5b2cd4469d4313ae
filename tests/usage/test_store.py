import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from appliance.storage.database import Broken, is_broken, set_aside
from appliance.usage.store import DAY, Row, Store

ROW = Row(
    at=1_800_000_000.0,
    request_id="req_1",
    key="alice",
    model="qwen",
    operation="chat",
    target="qwen",
    status=200,
    outcome="ok",
    code="",
    stream=True,
    input=10,
    output=5,
    cached=4,
    estimated=False,
    first_token=0.1,
    duration=1.5,
    bytes=900,
)
TODAY = int(ROW.at // DAY)


def counts(path: Path) -> tuple[int, int, int]:
    """Rows, requests of the days, tokens of the days."""
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT count(*) FROM exchanges").fetchone()[0]
    requests, tokens = connection.execute("SELECT coalesce(sum(requests), 0), sum(input + output) FROM days").fetchone()
    connection.close()
    return rows, requests, tokens


def test_a_batch_is_kept_and_summed_by_day(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "usage.db")
    store.add([ROW, ROW, ROW._replace(key="bob", at=ROW.at - DAY)])

    store.close()
    again = Store.open(tmp_path / "usage.db")
    again.close()


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    Store.open(tmp_path / "usage.db").close()
    assert (tmp_path / "usage.db").stat().st_mode & 0o777 == 0o600


def test_a_batch_with_a_bad_row_leaves_nothing_behind(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "usage.db")
    store.add([ROW])
    with pytest.raises(sqlite3.Error):
        store.add([ROW, ROW._replace(duration="soon")])  # type: ignore[arg-type]  # what no code of ours does
    store.add([ROW])
    store.close()
    assert counts(tmp_path / "usage.db") == (2, 2, 30)


def test_old_exchanges_go_and_the_sums_stay(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "usage.db")
    store.add([ROW._replace(at=ROW.at - 90 * DAY), ROW])
    assert store.forget(before=ROW.at - 30 * DAY, largest=2**30) == 1
    store.close()
    assert counts(tmp_path / "usage.db") == (1, 2, 30)


def test_a_file_that_grew_too_big_loses_its_oldest_exchanges(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "usage.db")
    for _ in range(20):
        store.add([ROW._replace(request_id="x" * 200)] * 500)
    before = counts(tmp_path / "usage.db")[0]
    for _ in range(40):
        store.forget(before=0, largest=2**20)
    store.close()
    assert counts(tmp_path / "usage.db")[0] < before
    assert (tmp_path / "usage.db").stat().st_size < 2 * 2**20


@pytest.mark.parametrize("content", [b"this is no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_file_that_is_no_database_is_told_and_set_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "usage.db"
    path.write_bytes(content)
    with pytest.raises(Broken):
        Store.open(path)
    aside = set_aside(path, 12.0)
    assert (aside.name, aside.read_bytes()) == ("usage.db.broken-12", content)
    Store.open(path).close()


def test_another_programs_database_is_not_touched(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "usage.db")
    connection.execute("CREATE TABLE other (x)")
    connection.close()
    with pytest.raises(Broken, match="another program"):
        Store.open(tmp_path / "usage.db")


def test_a_newer_versions_file_is_not_touched(tmp_path: Path) -> None:
    Store.open(tmp_path / "usage.db").close()
    connection = sqlite3.connect(tmp_path / "usage.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(Broken, match="newer"):
        Store.open(tmp_path / "usage.db")


def test_a_locked_file_is_not_broken(tmp_path: Path) -> None:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    assert not is_broken(error)


_WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from appliance.usage.store import Store
from tests.usage.test_store import ROW
store = Store.open(Path({path!r}))
while True:
    store.add([ROW] * 50)
    print("batch", flush=True)
"""


def test_a_kill_in_the_middle_of_writing_counts_nothing_twice_and_nothing_half(tmp_path: Path) -> None:
    path, root = tmp_path / "usage.db", Path(__file__).parent.parent.parent
    for _ in range(4):
        script = tmp_path / "writer.py"
        script.write_text(
            _WRITER.format(root=str(root), path=str(path)).replace(
                "from tests.usage.test_store import ROW", f"from appliance.usage.store import Row\nROW = {ROW!r}"
            )
        )
        with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, cwd=root) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"batch\n"
            time.sleep(0.02)
            os.kill(process.pid, signal.SIGKILL)
    Store.open(path).close()
    rows, requests, tokens = counts(path)
    assert rows == requests
    assert rows % 50 == 0
    assert rows >= 200
    assert tokens == 15 * rows
