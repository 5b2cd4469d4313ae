from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.supervisor.pauses import (
    TRIAL,
    Record,
    backoff,
    failures_after_crash,
    give_up,
    next_start,
    retry_after,
    trial,
)
from appliance.supervisor.verdict import Retry

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


def failed(record: Record, now: float, cause: str = "exited", healthy: float = 0.0) -> Record:
    return record.after(now, cause, healthy, start_time=5.0)


def test_what_would_fail_again_is_not_started_again() -> None:
    assert next_start(failed(Record(), 0), Retry.NEVER, 0.5) is None


def test_once_means_once() -> None:
    first = failed(Record(), 0, "oom")
    assert next_start(first, Retry.ONCE, 0.5) == 2
    assert next_start(failed(first, 10, "oom"), Retry.ONCE, 0.5) is None


def test_a_port_that_was_taken_is_tried_again_soon_and_not_for_ever() -> None:
    record = Record()
    for number in range(5):
        record = failed(record, number, "port_race")
        pause = next_start(record, Retry.NEW_PORT, 0.5)
        assert pause is not None
        assert 1 <= pause <= 3
    assert next_start(failed(record, 9, "port_race"), Retry.NEW_PORT, 0.5) is None


def test_five_in_a_row_and_no_more() -> None:
    record, now, starts = Record(), 0.0, 1
    while (pause := next_start(record := failed(record, now), Retry.BACKOFF, 1.0)) is not None:
        now += pause
        starts += 1
    assert starts == 6


def test_a_crash_now_and_then_is_no_loop() -> None:
    record, now = Record(), 0.0
    for _ in range(50):
        now += 700
        record = failed(record, now, healthy=650)
        assert next_start(record, Retry.BACKOFF, 1.0) == 0
    assert len(record.times) <= 6


@given(st.lists(st.tuples(st.floats(0, 5000), st.floats(0, 5000)), max_size=60))
def test_never_more_than_six_starts_in_half_an_hour(crashes: list[tuple[float, float]]) -> None:
    record, now, starts = Record(), 0.0, [0.0]
    for healthy, _ in crashes:
        now += healthy
        record = failed(record, now, healthy=healthy)
        pause = next_start(record, Retry.BACKOFF, 1.0)
        if pause is None:
            break
        now += pause
        starts.append(now)
    assert all(sum(1 for other in starts if start <= other < start + 1800) <= 7 for start in starts)


def test_a_quarantine_has_an_end_where_time_may_help_and_one_more_failure_is_enough_then() -> None:
    assert trial(Retry.NEVER) == inf
    assert {trial(retry) for retry in set(Retry) - {Retry.NEVER}} == {TRIAL}
    record = Record()
    while next_start(record, Retry.BACKOFF, 0.0) is not None:
        record = record.after(0.0, "crash", 0.0, 1.0)
    again = record.after(TRIAL + 5.0, "crash", 5.0, 1.0)
    assert next_start(again, Retry.BACKOFF, 0.0) is None
    settled = record.after(TRIAL + 700.0, "crash", 650.0, 1.0)
    assert next_start(settled, Retry.BACKOFF, 0.0) == 0
