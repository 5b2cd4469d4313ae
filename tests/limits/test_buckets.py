from copy import copy
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.limits.buckets import TICKS, Bucket, to_ticks

MINUTE = 60 * TICKS
CAPACITIES = st.integers(1, 10_000_000)


def wait_of(bucket: Bucket, items: int, tick: int) -> int:
    """Ticks until it holds `items`; nothing is taken."""
    return copy(bucket).try_take(items, tick)


@pytest.mark.parametrize(("now", "tick"), [(0.0, 0), (0.1, 100_000), (1.0, 1_000_000), (1.001, 1_001_000)])
def test_time_is_counted_in_whole_microseconds(now: float, tick: int) -> None:
    assert to_ticks(now) == tick


def test_a_bucket_starts_full_whatever_the_time_is() -> None:
    for tick in (0, 1, 10**15):
        bucket = Bucket(7)
        assert (bucket.level(tick), bucket.until_full(tick), wait_of(bucket, 7, tick)) == (7, 0, 0)


def test_it_refills_one_by_one_at_even_steps() -> None:
    bucket = Bucket(120)
    bucket.take(120, 0)
    assert [bucket.level(half * TICKS // 2) for half in range(4)] == [0, 1, 2, 3]
    assert bucket.level(TICKS // 2 - 1) == 0
    assert bucket.until_full(0) == MINUTE
    assert bucket.level(MINUTE) == bucket.level(10 * MINUTE) == 120


def test_what_is_more_than_it_holds_is_a_debt_that_refills() -> None:
    bucket = Bucket(60)
    bucket.take(180, 0)
    assert bucket.level(0) == -120
    assert wait_of(bucket, 1, 0) == 121 * TICKS
    assert wait_of(bucket, 1, 121 * TICKS - 1) == 1
    assert wait_of(bucket, 1, 121 * TICKS) == 0


def test_what_is_given_back_never_overfills_it() -> None:
    bucket = Bucket(60)
    bucket.take(60, 0)
    bucket.give_back(60)
    bucket.give_back(0)
    assert bucket.level(0) == 60
    bucket.take(60, 0)
    bucket.give_back(60)  # a minute later it would have been full anyway
    bucket.take(1, MINUTE)
    assert bucket.level(MINUTE) == 59


@given(CAPACITIES, st.data())
def test_the_wait_is_exact_to_the_tick(capacity: int, data: st.DataObject) -> None:
    bucket = Bucket(capacity)
    tick = data.draw(st.integers(0, 10**14))
    bucket.take(data.draw(st.integers(0, 3 * capacity)), tick)
    items = data.draw(st.integers(1, capacity))
    wait = wait_of(bucket, items, tick)
    assert wait_of(bucket, items, tick + wait) == 0
    assert bucket.level(tick + wait) >= items
    assert wait == 0 or bucket.level(tick + wait - 1) < items


@given(CAPACITIES, st.lists(st.tuples(st.integers(0, 2 * MINUTE), st.integers(0, 1000)), max_size=50))
def test_no_rounding_ever_adds_up(capacity: int, takings: list[tuple[int, int]]) -> None:
    bucket, level, tick = Bucket(capacity), Fraction(capacity), 0
    for pause, items in takings:
        tick += pause
        level = min(Fraction(capacity), level + Fraction(pause * capacity, MINUTE)) - items
        bucket.take(items, tick)
        assert bucket.level(tick) == level.__floor__()
        assert bucket.until_full(tick) == ((capacity - level) * MINUTE / capacity).__ceil__()
        assert bucket.standing(tick) == (max(bucket.level(tick), 0), bucket.until_full(tick))


def test_a_million_odd_steps_refill_what_one_long_one_does() -> None:
    bucket = Bucket(7)  # a seventh of a minute is no whole number of ticks
    admitted = 0
    for tick in range(0, 100 * MINUTE, MINUTE // 700 + 1):
        if wait_of(bucket, 1, tick) == 0:
            bucket.take(1, tick)
            admitted += 1
    assert admitted == 7 + 100 * 7 - 1  # the last one falls on the very end


@given(
    st.integers(1, 10**6),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**9), st.booleans()), max_size=8),
)
def test_trying_to_take_is_to_ask_and_then_to_take_and_can_be_undone(
    capacity: int, steps: list[tuple[int, int, bool]]
) -> None:
    ours, asked, tick = Bucket(capacity), Bucket(capacity), 0
    for some, later, undone in steps:
        items, tick = min(some, capacity), tick + later
        wait = wait_of(asked, items, tick)
        if not wait:
            asked.take(items, tick)
        assert ours.try_take(items, tick) == wait
        if undone and not wait:
            before = ours.standing(tick)
            ours.give_back(items)
            assert ours.try_take(items, tick) == 0
            assert ours.standing(tick) == before
        assert ours.standing(tick) == asked.standing(tick)
