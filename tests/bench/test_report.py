from dataclasses import replace
from pathlib import Path

import pytest

from bench.report import describe, medians, number, ratios, save, table
from bench.work import works

REQUESTS = works(1)[0]


def test_a_median_is_taken_over_the_rounds_that_have_the_figure_and_errors_add_up() -> None:
    rounds = [{"p50 ms": 3.0, "errors": 1.0, "error 503": 1.0}, {"p50 ms": 1.0, "errors": 0.0}, {"errors": 2.0}]
    assert medians(rounds) == {"p50 ms": 2.0, "errors": 3.0, "error 503": 1.0}


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (123456.7, "123,457"), (99.96, "100.0"), (12.34, "12.3"), (0.0123, "0.012"), (0, "0.000")],
)
def test_figures_keep_the_digits_that_mean_something(value: float | None, text: str) -> None:
    assert number(value) == text


def test_a_ratio_says_which_way_is_good_and_is_left_out_where_a_side_is_missing() -> None:
    mine, theirs = {"requests/s": 50.0, "CPU µs/request": 30.0}, {"requests/s": 100.0, "CPU µs/request": 10.0}
    assert ratios(REQUESTS, {"a": mine, "b": theirs, "c": {"errors": 1.0}}) == [
        "  a / b: requests/s x0.50 (higher is better), CPU µs/request x3.00 (lower is better)"
    ]


def test_columns_line_up() -> None:
    assert table(("rate", "p50"), {"a": ("1", "22"), "long name": ("1,000", "3")}).splitlines() == [
        "              rate  p50",
        "  a              1   22",
        "  long name  1,000    3",
    ]


def test_a_gateway_that_failed_shows_how_and_does_not_hide_the_others() -> None:
    work = replace(REQUESTS, columns=("requests/s",))
    text = describe(work, {"a": [{"errors": 3.0, "error closed": 3.0}], "b": [{"requests/s": 7.0, "errors": 0.0}]})
    assert "  a: 3 x closed" in text
    assert "7.000" in text


def test_the_file_holds_every_round(tmp_path: Path) -> None:
    save(tmp_path / "result.json", {"cpu": "x"}, {"a": "1"}, {"requests": {"a": [{"errors": 0.0}], "b": []}})
    text = (tmp_path / "result.json").read_text(encoding="utf-8")
    assert '"median"' in text
    assert '"b"' not in text
