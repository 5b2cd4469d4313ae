import sqlite3
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from appliance.errors import OperatorError
from appliance.storage.database import Broken, open_database, query, set_aside, shrink, size, transaction

SCHEMA = "CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;"


def names(path: Path) -> list[str]:
    return [str(row[0]) for row in query(path, "SELECT name FROM things ORDER BY id")]


def test_a_new_file_is_its_owners_and_is_opened_again_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    for name in ("a", "b"):
        connection = open_database(path, SCHEMA, 1)
        with transaction(connection):
            connection.execute("INSERT INTO things VALUES (NULL, ?)", (name,))
        connection.close()
    assert names(path) == ["a", "b"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_earlier_version_is_brought_up_step_by_step_with_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    connection = open_database(path, SCHEMA, 1)
    connection.execute("INSERT INTO things VALUES (1, 'a')")
    connection.close()
    steps = {
        1: "ALTER TABLE things ADD COLUMN x TEXT NOT NULL DEFAULT 'x';",
        2: "ALTER TABLE things ADD COLUMN y TEXT NOT NULL DEFAULT 'y';",
    }
    open_database(path, "never used", 3, steps).close()
    assert query(path, "SELECT * FROM things") == [(1, "a", "x", "y")]
    assert query(path, "PRAGMA user_version") == [(3,)]


def test_a_later_version_another_program_and_no_database_are_broken(tmp_path: Path) -> None:
    later, other, none = (tmp_path / name for name in ("later", "other", "none"))
    open_database(later, SCHEMA, 5).close()
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE x (y)")
    connection.close()
    none.write_bytes(b"no database " * 1000)
    for path, why in ((later, "newer version"), (other, "another program"), (none, "not a database")):
        with pytest.raises(Broken, match=why):
            open_database(path, SCHEMA, 1)


def test_a_transaction_is_whole_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    connection = open_database(path, SCHEMA, 1)
    with suppress(sqlite3.IntegrityError), transaction(connection):
        connection.execute("INSERT INTO things VALUES (1, 'a')")
        connection.execute("INSERT INTO things VALUES (1, 'b')")
    connection.close()
    assert names(path) == []


def test_room_is_given_back(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "a.db", SCHEMA, 1)
    connection.executemany("INSERT INTO things VALUES (NULL, ?)", [("x" * 4000,)] * 200)
    full = size(connection)
    connection.execute("DELETE FROM things")
    shrink(connection)
    assert size(connection) < full / 10
    connection.close()


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="cannot read"):
        query(tmp_path / "none.db", "SELECT 1")


def test_what_is_set_aside_takes_its_companions_along(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    for name in ("a.db", "a.db-wal", "a.db-shm"):
        (tmp_path / name).write_text(name)
    assert set_aside(path, 17.0).read_text() == "a.db"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.db.broken-17"]
