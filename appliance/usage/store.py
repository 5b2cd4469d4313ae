"""The usage file: SQLite, one transaction for each batch. Everything here blocks; the recorder calls it in a thread.

The days' sums are kept by the same transaction that adds the rows, so that a crash can lose the last batch but can
never count one twice or in one table only.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Self

DAY = 86_400
FILE = "usage.db"  # in the state directory
_VERSION = 1
_PAGES_A_STEP = 1000  # pages given back to the disk at a time, so that one batch never takes long
_SCHEMA = """
CREATE TABLE exchanges (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, request_id TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL,
    operation TEXT NOT NULL, target TEXT NOT NULL, status INTEGER NOT NULL, outcome TEXT NOT NULL, code TEXT NOT NULL,
    stream INTEGER NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL, cached INTEGER NOT NULL,
    estimated INTEGER NOT NULL, first_token REAL, duration REAL NOT NULL, bytes INTEGER NOT NULL
) STRICT;
CREATE TABLE days (
    day INTEGER NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL, target TEXT NOT NULL, requests INTEGER NOT NULL,
    failed INTEGER NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL, cached INTEGER NOT NULL,
    estimated INTEGER NOT NULL, PRIMARY KEY (day, key, model, target)
) STRICT, WITHOUT ROWID;
"""
_ADD = "INSERT INTO exchanges VALUES "
_ROW = f"(NULL{', ?' * 17})"
_AT_ONCE = 50  # rows of one statement
_SUM = """
INSERT INTO days
    SELECT CAST(at / ? AS INTEGER), key, model, target, count(*), sum(status >= 400), sum(input), sum(output),
        sum(cached), sum(iif(estimated, input + output, 0))
    FROM exchanges WHERE id > ? GROUP BY 1, key, model, target
ON CONFLICT DO UPDATE SET
    requests = requests + excluded.requests, failed = failed + excluded.failed, input = input + excluded.input,
    output = output + excluded.output, cached = cached + excluded.cached, estimated = estimated + excluded.estimated
"""


class Row(NamedTuple):
    """One exchange, in the order of the table's columns: a busy server makes thousands of them a second.

    Attributes:
        at: when it ended, in seconds since 1970.
        estimated: the tokens were counted by us, because the engine never said.
        first_token: seconds to the first content of a stream.
        duration: seconds in all.
        bytes: body bytes to the client.
    """

    at: float
    request_id: str
    key: str
    model: str
    operation: str
    target: str
    status: int
    outcome: str
    code: str
    stream: bool
    input: int
    output: int
    cached: int
    estimated: bool
    first_token: float | None
    duration: float
    bytes: int


class Broken(Exception):  # noqa: N818 - a state of the file, not a mistake of a caller
    """The file is not a usable database; the text says why."""


class Store:
    """An open usage file. Used by one thread at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create the file, readable by its owner only.

        Raises:
            Broken: it is there, and is no database or another program's.
            OSError: it cannot be created.
            sqlite3.Error: it cannot be opened or written.
        """
        path.touch(mode=0o600)
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
        try:
            _prepare(connection)
        except sqlite3.DatabaseError as error:
            connection.close()
            if is_broken(error):
                raise Broken(str(error)) from error
            raise
        except Broken:
            connection.close()
            raise
        return cls(connection)

    def add(self, rows: Sequence[Row]) -> None:
        """Write a batch, all of it or nothing.

        Few statements, each of many rows: SQLite works without the interpreter's lock, and every statement takes that
        lock back from the thread that passes tokens on.

        Raises:
            sqlite3.Error: nothing was written.
        """
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            last = connection.execute("SELECT ifnull(max(id), 0) FROM exchanges").fetchone()[0]
            for start in range(0, len(rows), _AT_ONCE):
                some = rows[start : start + _AT_ONCE]
                connection.execute(_ADD + ", ".join([_ROW] * len(some)), list(chain.from_iterable(some)))
            connection.execute(_SUM, (DAY, last))
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk has rolled back by itself
                connection.execute("ROLLBACK")
            raise

    def forget(self, *, before: float, largest: int) -> int:
        """Remove exchanges that are too old, and the oldest ones while the file is too big. The days' sums stay.

        Args:
            before: seconds since 1970.
            largest: bytes that the file may have.

        Returns:
            How many were removed.
        """
        removed = self._connection.execute("DELETE FROM exchanges WHERE at < ?", (before,)).rowcount
        if self._size() > largest:
            count = self._connection.execute("SELECT count(*) FROM exchanges").fetchone()[0]
            removed += self._connection.execute(
                "DELETE FROM exchanges WHERE id IN (SELECT id FROM exchanges ORDER BY id LIMIT ?)", (count // 4 + 1,)
            ).rowcount
        self._connection.executescript(f"PRAGMA incremental_vacuum({_PAGES_A_STEP})")  # `execute` stops after one page
        return removed

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _size(self) -> int:
        used = self._connection.execute("PRAGMA page_count").fetchone()[0]
        free = self._connection.execute("PRAGMA freelist_count").fetchone()[0]
        size = self._connection.execute("PRAGMA page_size").fetchone()[0]
        return int((used - free) * size)


def is_broken(error: sqlite3.DatabaseError) -> bool:
    """Whether an error says that the file itself is damaged, so that no later try can succeed."""
    return error.sqlite_errorcode in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or (
        (error.sqlite_errorcode & 0xFF) == sqlite3.SQLITE_CORRUPT
    )


def set_aside(path: Path, at: float) -> Path:
    """Move a broken file out of the way, with what belongs to it; the new name of it.

    Raises:
        OSError: it cannot be moved.
    """
    aside = path.with_name(f"{path.name}.broken-{at:.0f}")
    path.rename(aside)
    for suffix in ("-wal", "-shm"):  # they would be played into the new file
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return aside


def _prepare(connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if version > _VERSION:
        raise Broken(f"it was written by a newer version ({version})")
    if version == 0 and tables:
        raise Broken("it belongs to another program")
    if version == 0:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    # A crash of ours loses nothing; a crash of the machine may lose the last second, which is the promise.
    connection.execute("PRAGMA synchronous = NORMAL")
    if version == 0:
        connection.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version = {_VERSION};COMMIT;")
