"""A file of rows: SQLite with a version, its owner's only. Everything here blocks."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from appliance.errors import OperatorError

_PAGES_A_STEP = 1000  # pages given back to the disk at a time, so that one batch never takes long


class Broken(Exception):  # noqa: N818 - a state of the file, not a mistake of a caller
    """The file is not a usable database; the text says why."""


def open_database(
    path: Path, schema: str, version: int, upgrades: Mapping[int, str] = MappingProxyType({})
) -> sqlite3.Connection:
    """Open or create a file, readable by its owner only; used by one thread at a time.

    Args:
        path: the file.
        schema: statements that make the tables of a new one.
        version: of the schema.
        upgrades: statements that make of each earlier version the next one.

    Raises:
        Broken: it is there, and is no database, another program's, or of a later version.
        OSError: it cannot be created.
        sqlite3.Error: it cannot be opened or written.
    """
    path.touch(mode=0o600)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    try:
        _prepare(connection, schema, version, upgrades)
    except sqlite3.DatabaseError as error:
        connection.close()
        if is_broken(error):
            raise Broken(str(error)) from error
        raise
    except Broken:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of what is written inside, or nothing.

    Raises:
        sqlite3.Error: nothing was written.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk has rolled back by itself
            connection.execute("ROLLBACK")
        raise


def query(path: Path, statement: str, values: Sequence[object] = ()) -> list[tuple[int | str, ...]]:
    """The rows of a statement that only reads; beside a running writer.

    Raises:
        OperatorError: the file cannot be read.
    """
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)) as connection:
            return connection.execute(statement, values).fetchall()
    except sqlite3.Error as error:
        raise OperatorError(f"cannot read {path}: {error}") from error


def shrink(connection: sqlite3.Connection) -> None:
    """Give some of the room of rows that are gone back to the disk."""
    connection.executescript(f"PRAGMA incremental_vacuum({_PAGES_A_STEP})")  # `execute` stops after one page


def size(connection: sqlite3.Connection) -> int:
    """Bytes that rows take up."""
    used, free, page = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((used - free) * page)


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


def _prepare(connection: sqlite3.Connection, schema: str, latest: int, upgrades: Mapping[int, str]) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if version > latest:
        raise Broken(f"it was written by a newer version ({version})")
    if version == 0 and tables:
        raise Broken("it belongs to another program")
    if version == 0:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    # A crash of ours loses nothing; a crash of the machine may lose the last second, which is the promise.
    connection.execute("PRAGMA synchronous = NORMAL")
    if version < latest:
        made = schema if version == 0 else "".join(upgrades[step] for step in range(version, latest))
        connection.executescript(f"BEGIN;{made}PRAGMA user_version = {latest};COMMIT;")
