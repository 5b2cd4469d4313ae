import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.supervisor.pauses import backoff, failures_after_crash, give_up, retry_after

UNIT = st.floats(0, 1)


def test_the_first_crash_costs_no_wait_and_each_next_one_twice_as_much() -> None:
    assert [backoff(n, 1.0) for n in range(1, 12)] == [0, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


@given(st.integers(2, 10**9), UNIT)
def test_a_pause_is_bounded_and_its_jitter_takes_at_most_half(failures: int, random: float) -> None:
    longest = backoff(failures, 1.0)
    assert longest / 2 <= backoff(failures, random) <= longest <= 300


@given(st.integers(1, 10**6), UNIT)
def test_more_failures_never_wait_less(failures: int, random: float) -> None:
    assert backoff(failures, random) <= backoff(failures + 1, random)


@pytest.mark.parametrize(
    ("healthy", "start_time", "expected"), [(0, 5, 4), (599, 5, 4), (600, 5, 1), (600, 400, 4), (1200, 400, 1)]
)
def test_failures_are_forgotten_after_long_health_only(healthy: float, start_time: float, expected: int) -> None:
    assert failures_after_crash(3, healthy, start_time) == expected


def test_the_hint_is_what_is_left_of_the_usual_load_time() -> None:
    assert retry_after(4, 30) == 26
    assert retry_after(0, None) == 10
    assert retry_after(500, 30) == 1
    assert retry_after(0, 5000) == 60


def test_a_start_with_progress_is_given_time_up_to_the_limit() -> None:
    assert give_up(now=1000, started=0, progressed=999, stall=300, limit=3600) is None
    assert "load_limit" in str(give_up(now=3600, started=0, progressed=3599, stall=300, limit=3600))


def test_a_start_without_progress_is_given_up() -> None:
    assert give_up(now=299, started=0, progressed=0, stall=300, limit=3600) is None
    assert "load_stall" in str(give_up(now=300, started=0, progressed=0, stall=300, limit=3600))


def test_zero_switches_a_deadline_off() -> None:
    assert give_up(now=1e9, started=0, progressed=0, stall=0, limit=0) is None
