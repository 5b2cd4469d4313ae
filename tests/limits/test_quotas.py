from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.limits.quotas import Quota, Span, span_of

DAY = 86_400
SPANS: st.SearchStrategy[Span] = st.sampled_from(["day", "month"])
DATES = st.floats(0, 4e9)  # until 2096


@given(SPANS, DATES)
def test_a_span_holds_its_date_begins_at_midnight_and_is_as_the_calendar_has_it(span: Span, date: float) -> None:
    begin, end = span_of(span, date)
    assert begin <= date < end
    assert begin % DAY == end % DAY == 0
    first, last = datetime.fromtimestamp(begin, UTC), datetime.fromtimestamp(end - 1, UTC)
    if span == "day":
        assert end - begin == DAY
    else:
        assert first.day == 1
        assert (first.year, first.month) == (last.year, last.month)
        assert datetime.fromtimestamp(end, UTC).day == 1
    assert span_of(span, end)[0] == end


@given(SPANS, DATES, st.lists(st.tuples(st.floats(0, 90 * DAY), st.integers(0, 1000)), max_size=20))
def test_what_is_used_is_the_sum_of_what_ended_in_the_span(
    span: Span, date: float, steps: list[tuple[float, int]]
) -> None:
    quota, ended = Quota(span, 10**6, 7, date), [(date, 7)]
    for passed, tokens in steps:
        date += passed
        quota.settle(tokens, date)
        ended.append((date, tokens))
    begin, end = span_of(span, date)
    assert quota.left(date) == 10**6 - sum(tokens for at, tokens in ended if begin <= at < end)


@pytest.mark.parametrize(("back", "left"), [(60.0, 40), (40 * DAY, 100)])
def test_a_clock_that_goes_back_over_a_border_gives_nothing_back_and_one_that_was_wrong_is_forgotten(
    back: float, left: int
) -> None:
    midnight = 20_000.0 * DAY
    quota = Quota("day", 100, 0, midnight)
    quota.settle(60, midnight + 10)
    assert quota.left(midnight + 10 - back) == left


def test_more_than_there_was_leaves_nothing() -> None:
    quota = Quota("day", 100, 0, 0.0)
    quota.settle(150, 1.0)
    assert quota.left(2.0) == 0
    assert quota.left(DAY) == 100
