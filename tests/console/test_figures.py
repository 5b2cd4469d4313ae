import pytest

from appliance.console import figures


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (5 * 2**20, "5.0 MiB"),
        (41.2 * 2**30, "41.2 GiB"),
        (123.4 * 2**30, "123 GiB"),
        (2**60, "1024 PiB"),
        (None, figures.NONE),
        (float("nan"), figures.NONE),
    ],
)
def test_sizes(number: float | None, text: str) -> None:
    assert figures.size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.085, "85 ms"),
        (3.21, "3.2 s"),
        (85, "85 s"),
        (300, "5 min"),
        (7800, "2 h 10 min"),
        (3 * 86400 + 4 * 3600, "3 d 4 h"),
        (None, figures.NONE),
    ],
)
def test_spans(seconds: float | None, text: str) -> None:
    assert figures.span(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "now"), (59, "now"), (60, "1 min ago"), (119, "1 min ago"), (300, "5 min ago"), (90000, "1 d 1 h ago")],
)
def test_how_long_ago_changes_once_a_minute(seconds: float, text: str) -> None:
    assert figures.ago(seconds) == text


def test_rates_and_counts() -> None:
    assert [figures.rate(number) for number in (0, 0.44, 12.3, 4312, None)] == ["0", "0.4", "12", "4,312", figures.NONE]
    assert [figures.count(number) for number in (3, 1234, 5_600_000, None)] == ["3", "1,234", "5.6 M", figures.NONE]
