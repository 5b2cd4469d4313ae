"""The file of events: SQLite, one transaction for each batch. Everything here blocks."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec

from appliance.domain.events import Event, Fact, Wanted
from appliance.storage.database import open_database, query, shrink, transaction

FILE = "events.db"  # in the state directory
_VERSION = 1
_SCHEMA = """
CREATE TABLE events (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, words TEXT NOT NULL,
    facts TEXT NOT NULL
) STRICT;
CREATE INDEX events_subject ON events (subject, id);
CREATE TABLE forgotten (one INTEGER PRIMARY KEY CHECK (one = 1), id INTEGER NOT NULL) STRICT;
INSERT INTO forgotten VALUES (1, 0);
"""
_FACTS = msgspec.json.Decoder(dict[str, Fact])

_ADD = """
INSERT INTO events VALUES (
    iif(EXISTS (SELECT 1 FROM events WHERE id = ?1), (SELECT max(id) + 1 FROM events), ?1), ?2, ?3, ?4, ?5, ?6
)
"""


class Store:
    """An open file of events; a `storage.writer.Store`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create the file; see `storage.database.open_database`."""
        return cls(open_database(path, _SCHEMA, _VERSION))

    def add(self, rows: Sequence[Event]) -> None:
        """Write a batch, all of it or nothing.

        While one process of ours takes over from another, both may tell something in the same millisecond: the one who
        comes second gets the next id.

        Raises:
            sqlite3.Error: nothing was written.
        """
        values = [
            (row.id, row.at, row.kind, row.subject, row.words, msgspec.json.encode(row.facts).decode()) for row in rows
        ]
        with transaction(self._connection):
            self._connection.executemany(_ADD, values)

    def forget(self, *, before: float, largest: int) -> int:
        """Remove events that are too old, and the oldest ones where there are too many.

        Args:
            before: seconds since 1970.
            largest: how many there may be.

        Returns:
            How many were removed.
        """
        limit = "(SELECT id FROM events ORDER BY id DESC LIMIT 1 OFFSET ?)"
        old = f"SELECT max(id) FROM events WHERE at < ? OR id <= {limit}"  # noqa: S608 - no value of anybody's
        with transaction(self._connection):
            last = self._connection.execute(old, (before, largest)).fetchone()[0]
            if last is None:
                return 0
            removed = self._connection.execute("DELETE FROM events WHERE id <= ?", (last,)).rowcount
            self._connection.execute("UPDATE forgotten SET id = ?", (last,))
        shrink(self._connection)
        return removed

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def last_id(path: Path) -> int:
    """The greatest id that was ever written; 0 where there is none.

    Raises:
        OperatorError: the file cannot be read.
    """
    if not path.exists():
        return 0
    return int(query(path, "SELECT max((SELECT ifnull(max(id), 0) FROM events), (SELECT id FROM forgotten))")[0][0])


def forgotten(path: Path) -> int:
    """The greatest id that was removed because it was old; 0 where none was.

    Raises:
        OperatorError: the file cannot be read.
    """
    return int(query(path, "SELECT id FROM forgotten")[0][0]) if path.exists() else 0


def read(path: Path, wanted: Wanted, *, after: int, until: int, most: int, newest: bool) -> list[Event]:
    """Events in their order.

    Args:
        path: the file; where there is none there are no events.
        wanted: which.
        after: only greater ids.
        until: no greater ids.
        most: how many.
        newest: the last ones of those, instead of the first.

    Raises:
        OperatorError: the file cannot be read.
    """
    if not path.exists():
        return []
    terms, values = ["id > ?", "id <= ?"], [after, until]
    more: list[str] = []
    if wanted.kinds is not None:
        terms.append(f"kind IN ({', '.join('?' * len(wanted.kinds))})")
        more += wanted.kinds
    if wanted.subject:
        terms.append("subject = ?")
        more.append(wanted.subject)
    order = "DESC" if newest else "ASC"
    statement = f"SELECT * FROM events WHERE {' AND '.join(terms)} ORDER BY id {order} LIMIT ?"  # noqa: S608 - as above
    rows = query(path, statement, [*values, *more, most])
    found = [
        Event(int(number), float(at), str(kind), str(subject), str(words), _FACTS.decode(str(facts)))
        for number, at, kind, subject, words, facts in rows
    ]
    return found[::-1] if newest else found
