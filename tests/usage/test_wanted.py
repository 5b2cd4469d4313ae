from datetime import date

import pytest

from appliance.errors import OperatorError
from appliance.usage.report import Sum
from appliance.usage.wanted import columns, comma_separated, day, objects

TODAY = date(2027, 1, 15)
ROW = Sum(("alice",), 3, 1, 10, 5, 2, 0)


def test_columns() -> None:
    assert columns("") == []
    assert columns("day, key,day") == ["day", "key"]
    with pytest.raises(OperatorError, match='"colour" is not one of day, key, model, target'):
        columns("key,colour")


@pytest.mark.parametrize(
    ("text", "found"),
    [("2026-11-24", date(2026, 11, 24)), ("today", TODAY), ("0d", TODAY), ("15d", date(2026, 12, 31))],
)
def test_days(text: str, found: date) -> None:
    assert day(text, TODAY) == found


@pytest.mark.parametrize("text", ["", "d", "x", "-1d", "99999d", "٣d", "2026-02-30"])
def test_no_days(text: str) -> None:
    with pytest.raises(OperatorError, match="is no day"):
        day(text, TODAY)


def test_the_same_for_programs() -> None:
    assert objects(["key"], [ROW]) == [
        {"key": "alice", "requests": 3, "failed": 1, "input": 10, "output": 5, "cached": 2, "estimated": 0}
    ]
    text = "key,requests,failed,input,output,cached,estimated\nalice,3,1,10,5,2,0\n"
    assert comma_separated(["key"], [ROW]) == text
    assert comma_separated([], []) == text.partition("\n")[0].removeprefix("key,") + "\n"
