from datetime import date
from pathlib import Path

import pytest

from appliance.errors import OperatorError
from appliance.usage.report import Filter, Sum, spent, sums, today
from appliance.usage.store import DAY, Row, Store

AT = 1_800_000_000.0  # 2027-01-15
ROW = Row(AT, "r", "alice", "qwen", "chat", "qwen", 200, "ok", "", False, 10, 5, 2, False, None, 0.1, 10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "usage.db"
    store = Store.open(file)
    store.add(
        [
            ROW,
            ROW._replace(status=503),
            ROW._replace(key="bob", model="llama", estimated=True),
            ROW._replace(at=AT - 2 * DAY),
        ]
    )
    store.close()
    return file


def test_everything(path: Path) -> None:
    assert sums(path, Filter(), ()) == [Sum((), 4, 1, 40, 20, 8, 15)]


def test_by_key_and_day(path: Path) -> None:
    assert sums(path, Filter(), ("day", "key")) == [
        Sum(("2027-01-13", "alice"), 1, 0, 10, 5, 2, 0),
        Sum(("2027-01-15", "alice"), 2, 1, 20, 10, 4, 0),
        Sum(("2027-01-15", "bob"), 1, 0, 10, 5, 2, 15),
    ]


@pytest.mark.parametrize(
    ("wanted", "requests"),
    [
        (Filter(key="alice"), 3),
        (Filter(model="llama"), 1),
        (Filter(since=date(2027, 1, 14)), 3),
        (Filter(until=date(2027, 1, 14)), 1),
        (Filter(since=date(2027, 1, 13), until=date(2027, 1, 13), key="alice", model="qwen"), 1),
    ],
)
def test_filters(path: Path, wanted: Filter, requests: int) -> None:
    assert sums(path, wanted, ())[0].requests == requests


def test_nothing_found_is_no_line(path: Path) -> None:
    assert sums(path, Filter(key="'; DROP TABLE days; --"), ()) == []
    assert sums(path, Filter(key="nobody"), ("key",)) == []


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="no usage has been recorded yet"):
        sums(tmp_path / "usage.db", Filter(), ())
    assert not (tmp_path / "usage.db").exists()


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "usage.db").write_bytes(b"x" * 5000)
    with pytest.raises(OperatorError, match="cannot read"):
        sums(tmp_path / "usage.db", Filter(), ())


def test_days_are_utc() -> None:
    assert today(AT) == date(2027, 1, 15)
    assert today(0) == date(1970, 1, 1)


def test_what_was_spent_of_a_day_and_a_month(path: Path) -> None:
    day = int(AT // DAY)
    assert spent(path, "key", day, day - 2) == {"alice": (30, 45), "bob": (15, 15)}
    assert spent(path, "model", day, day - 1) == {"qwen": (30, 30), "llama": (15, 15)}
    assert spent(path, "key", day + 1, day) == {"alice": (0, 30), "bob": (0, 15)}
    assert spent(path, "key", day + 1, day + 1) == {}


def test_nothing_was_spent_where_there_is_no_file_and_a_broken_one_is_told(tmp_path: Path) -> None:
    assert spent(tmp_path / "usage.db", "key", 0, 0) == {}
    (tmp_path / "usage.db").write_bytes(b"no database " * 100)
    with pytest.raises(OperatorError, match="cannot read"):
        spent(tmp_path / "usage.db", "key", 0, 0)
