from hypothesis import given
from hypothesis import strategies as st

from appliance.queueing.drain import Drain


def measured(*freed: float) -> Drain:
    drain = Drain()
    for time in freed:
        drain.freed(time)
    return drain


def test_nothing_measured_is_a_guess() -> None:
    assert measured().retry_after(10, 0) == 5
    assert measured(1.0).retry_after(10, 2) == 5


def test_the_wait_is_the_places_through_the_rate() -> None:
    drain = measured(0, 1, 2, 3)
    assert drain.rate(4) == 1
    assert drain.retry_after(7, 4) == 7


def test_a_line_that_has_stopped_becomes_slower_with_time() -> None:
    drain = measured(0, 1, 2, 3)
    assert drain.retry_after(5, 40) == 50


def test_an_old_measurement_says_nothing() -> None:
    assert measured(0, 1, 2).rate(100) is None


@given(st.lists(st.floats(0, 1000)), st.integers(0, 10_000), st.floats(0, 1000))
def test_the_wait_is_always_one_that_sdks_obey(gaps: list[float], places: int, later: float) -> None:
    now = 0.0
    drain = Drain()
    for gap in gaps:
        now += gap
        drain.freed(now)
    assert 1 <= drain.retry_after(places, now + later) <= 60
