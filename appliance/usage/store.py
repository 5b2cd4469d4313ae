"""The usage file: SQLite, one transaction for each batch. Everything here blocks; the recorder calls it in a thread.

The days' sums are kept by the same transaction that adds the rows, so that a crash can lose the last batch but can
never count one twice or in one table only.
"""

import sqlite3
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Self

from appliance.storage.database import open_database, shrink, size, transaction

DAY = 86_400
FILE = "usage.db"  # in the state directory
_VERSION = 2
_SCHEMA = """
CREATE TABLE exchanges (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, request_id TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL,
    operation TEXT NOT NULL, target TEXT NOT NULL, status INTEGER NOT NULL, outcome TEXT NOT NULL, code TEXT NOT NULL,
    stream INTEGER NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL, cached INTEGER NOT NULL,
    estimated INTEGER NOT NULL, first_token REAL, duration REAL NOT NULL, bytes INTEGER NOT NULL,
    trace_id TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE days (
    day INTEGER NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL, target TEXT NOT NULL, requests INTEGER NOT NULL,
    failed INTEGER NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL, cached INTEGER NOT NULL,
    estimated INTEGER NOT NULL, PRIMARY KEY (day, key, model, target)
) STRICT, WITHOUT ROWID;
"""
_UPGRADES = MappingProxyType({1: "ALTER TABLE exchanges ADD COLUMN trace_id TEXT NOT NULL DEFAULT '';"})
_ADD = "INSERT INTO exchanges VALUES "
_ROW = f"(NULL{', ?' * 18})"
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
        trace_id: of the trace that it belongs to, 32 hex digits.
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
    trace_id: str = ""


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
        return cls(open_database(path, _SCHEMA, _VERSION, _UPGRADES))

    def add(self, rows: Sequence[Row]) -> None:
        """Write a batch, all of it or nothing.

        Few statements, each of many rows: SQLite works without the interpreter's lock, and every statement takes that
        lock back from the thread that passes tokens on.

        Raises:
            sqlite3.Error: nothing was written.
        """
        connection = self._connection
        with transaction(connection):
            last = connection.execute("SELECT ifnull(max(id), 0) FROM exchanges").fetchone()[0]
            for start in range(0, len(rows), _AT_ONCE):
                some = rows[start : start + _AT_ONCE]
                connection.execute(_ADD + ", ".join([_ROW] * len(some)), list(chain.from_iterable(some)))
            connection.execute(_SUM, (DAY, last))

    def forget(self, *, before: float, largest: int) -> int:
        """Remove exchanges that are too old, and the oldest ones while the file is too big. The days' sums stay.

        Args:
            before: seconds since 1970.
            largest: bytes that the file may have.

        Returns:
            How many were removed.
        """
        removed = self._connection.execute("DELETE FROM exchanges WHERE at < ?", (before,)).rowcount
        if size(self._connection) > largest:
            count = self._connection.execute("SELECT count(*) FROM exchanges").fetchone()[0]
            removed += self._connection.execute(
                "DELETE FROM exchanges WHERE id IN (SELECT id FROM exchanges ORDER BY id LIMIT ?)", (count // 4 + 1,)
            ).rowcount
        shrink(self._connection)
        return removed

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
