import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.domain.events import Event, Wanted, kinds_of
from appliance.errors import OperatorError
from appliance.events.store import Store, forgotten, last_id, read

ALL = Wanted()


def event(number: int, kind: str = "key.created", subject: str = "ci") -> Event:
    return Event(number, float(number), kind, subject, f"words {number}", {"n": number, "ok": True, "none": None})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "events.db"
    store = Store.open(path)
    store.add([event(1), event(2, "gpu.fault", "GPU 0"), event(3), event(4, subject="x")])
    store.close()
    return path


def ids(path: Path, wanted: Wanted = ALL, *, after: int = 0, most: int = 9, newest: bool = False) -> list[int]:
    return [one.id for one in read(path, wanted, after=after, until=99, most=most, newest=newest)]


def test_events_come_back_as_they_were_in_their_order(path: Path) -> None:
    assert read(path, ALL, after=0, until=2, most=9, newest=False) == [event(1), event(2, "gpu.fault", "GPU 0")]
    assert ids(path, most=2) == [1, 2]
    assert ids(path, most=2, newest=True) == [3, 4]
    assert ids(path, after=3) == [4]
    assert ids(path, Wanted(kinds_of("key"), "ci")) == [1, 3]
    assert ids(path, Wanted(frozenset())) == []


def test_old_ones_go_by_age_and_by_count_and_that_is_remembered(path: Path) -> None:
    store = Store.open(path)
    assert store.forget(before=2.0, largest=9) == 1
    assert (ids(path), forgotten(path), last_id(path)) == ([2, 3, 4], 1, 4)
    assert store.forget(before=0.0, largest=2) == 1
    assert (ids(path), forgotten(path)) == ([3, 4], 2)
    assert store.forget(before=0.0, largest=2) == 0
    assert store.forget(before=99.0, largest=2) == 2
    assert (ids(path), forgotten(path), last_id(path)) == ([], 4, 4), "no id is given twice"
    store.close()


def test_a_batch_is_whole_or_nothing(path: Path) -> None:
    store = Store.open(path)
    with pytest.raises(sqlite3.IntegrityError):
        store.add([event(5), replace(event(6), at=float("nan"))])  # which SQLite takes for NULL
    store.close()
    assert ids(path) == [1, 2, 3, 4]


def test_where_there_is_no_file_there_was_nothing(tmp_path: Path) -> None:
    nowhere = tmp_path / "none.db"
    assert (last_id(nowhere), forgotten(nowhere), ids(nowhere)) == (0, 0, [])
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database " * 1000)
    with pytest.raises(OperatorError, match="cannot read"):
        last_id(broken)


def test_two_processes_may_tell_something_in_the_same_millisecond(path: Path) -> None:
    old, new = Store.open(path), Store.open(path)
    old.add([event(5)])
    new.add([event(5, subject="new"), event(6)])
    assert [(one.id, one.subject) for one in read(path, ALL, after=4, until=99, most=9, newest=False)] == [
        (5, "ci"),
        (6, "new"),
        (7, "ci"),
    ]
    old.close()
    new.close()
