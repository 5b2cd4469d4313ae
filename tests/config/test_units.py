from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from appliance.config.units import Moment, Seconds, Size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("30s", 30), ("1.5m", 90), ("1h", 3600), ("2 d", 172800), (5, 5), (0.5, 0.5), (0, 0)],
)
def test_durations_as_people_write_them(text: object, seconds: float) -> None:
    assert Seconds.parse(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "-1s", "1 week", "1h30m", True, -1, None, [], float("nan")])
def test_anything_else_is_not_a_duration_and_the_text_gives_an_example(text: object) -> None:
    with pytest.raises(ValueError, match='such as "30s"'):
        Seconds.parse(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("18GiB", 18 * 2**30),
        ("500MB", 500 * 10**6),
        ("1.5KiB", 1536),
        ("7 B", 7),
        ("10", 10),
        (10, 10),
        ("1TiB", 2**40),
    ],
)
def test_sizes_as_people_write_them(text: object, size: int) -> None:
    assert Size.parse(text) == size


@pytest.mark.parametrize("text", ["", "18 gigs", "-1", "1PiB", "1T", True, -1, 1.5, None])
def test_anything_else_is_not_a_size_and_the_text_gives_an_example(text: object) -> None:
    with pytest.raises(ValueError, match='such as "18GiB"'):
        Size.parse(text)


_MIDNIGHT = datetime(2027, 1, 31, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (date(2027, 1, 31), _MIDNIGHT),
        ("2027-01-31", _MIDNIGHT),
        ("2027-01-31T18:00:00Z", _MIDNIGHT + 18 * 3600),
        ("2027-01-31T18:00:00+02:00", _MIDNIGHT + 16 * 3600),
        (datetime(2027, 1, 31, 18, tzinfo=timezone(timedelta(hours=2))), _MIDNIGHT + 16 * 3600),
    ],
)
def test_a_date_is_its_beginning_in_utc_and_a_time_has_a_zone(value: object, seconds: float) -> None:
    assert Moment.parse(value) == seconds


@pytest.mark.parametrize(
    "value",
    ["", "soon", "2027-02-30", "2027-01-31T18:00:00", datetime.fromisoformat("2027-01-31T18:00"), 5, True, None],
)
def test_anything_else_is_no_date_and_the_text_gives_an_example(value: object) -> None:
    with pytest.raises(ValueError, match="such as 2027-01-31"):
        Moment.parse(value)
