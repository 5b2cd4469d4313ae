import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.breakers.breaker import Breaker, State

CLOSED, HALF, OPEN = State.CLOSED, State.HALF_OPEN, State.OPEN


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker(5)
    for _ in range(5):
        breaker.bad(now, now, "no connection")
    assert breaker.state is OPEN
    return breaker


def test_it_opens_on_failures_in_a_row_and_says_why() -> None:
    breaker = Breaker(5)
    for _ in range(4):
        breaker.bad(0, 0, "no connection")
    breaker.good(0, 0)
    for _ in range(4):
        breaker.bad(0, 0, "no connection")
    assert (breaker.state, breaker.allows(0)) == (CLOSED, True)
    breaker.bad(0, 0, "no connection")
    assert (breaker.state, breaker.reason, breaker.allows(0)) == (OPEN, "no connection", False)


def test_it_opens_when_half_of_a_busy_half_minute_fails() -> None:
    breaker = Breaker(5)
    for _ in range(9):
        breaker.good(0, 1)
        breaker.bad(0, 1, "x")
    assert breaker.state is CLOSED
    breaker.good(0, 1)
    breaker.bad(0, 1, "x")
    assert breaker.state is OPEN


def test_few_failures_among_few_do_not_open_it_and_are_forgotten() -> None:
    breaker = Breaker(5)
    for second in range(0, 300, 16):
        breaker.bad(second, second, "x")
        breaker.good(second, second)
    assert breaker.state is CLOSED
    assert breaker.idle(1000)


def test_none_in_a_row_never_opens_it() -> None:
    breaker = Breaker(0)
    for _ in range(100):
        breaker.bad(0, 0, "x")
    assert breaker.state is CLOSED


def test_one_probe_at_a_time_and_the_next_within_ten_seconds() -> None:
    breaker = opened()
    assert (breaker.wait(0), breaker.allows(4.9), breaker.allows(5)) == (5, False, True)
    breaker.begin(5)
    assert (breaker.state, breaker.allows(5), breaker.allows(9.9)) == (HALF, False, False)
    assert breaker.allows(10)  # whatever became of the first
    breaker.begin(10)
    breaker.bad(10, 11, "x")
    assert (breaker.state, breaker.wait(11)) == (OPEN, 10)
    breaker.begin(21)
    breaker.bad(21, 21, "x")
    assert breaker.wait(21) == 10  # and never longer


def test_a_probe_that_ends_well_closes_it() -> None:
    breaker = opened()
    breaker.begin(5)
    breaker.good(5, 30)
    assert (breaker.state, breaker.in_a_row, breaker.idle(30)) == (CLOSED, 0, True)


def test_what_began_before_it_opened_proves_nothing() -> None:
    breaker = opened(10)
    breaker.good(9, 11)
    breaker.bad(9, 11, "x")
    assert (breaker.state, breaker.wait(11)) == (OPEN, 4)


@given(st.lists(st.tuples(st.sampled_from(["good", "bad", "begin"]), st.floats(0, 20)), max_size=60), st.integers(1, 5))
def test_it_never_keeps_everybody_out_for_more_than_ten_seconds(events: list[tuple[str, float]], failures: int) -> None:
    breaker, now = Breaker(failures), 0.0
    for what, pause in events:
        now += pause
        if what == "begin":
            if breaker.allows(now):
                breaker.begin(now)
        elif what == "good":
            breaker.good(now, now)
            assert breaker.state is CLOSED
        else:
            breaker.bad(now, now, "x")
        assert 0 <= breaker.wait(now) <= 10 + 1e-6
        assert breaker.allows(now + breaker.wait(now) + 1e-6)
        assert breaker.allows(now) or breaker.state is not CLOSED


@pytest.mark.parametrize("state", list(State))
def test_the_metric_is_the_states_number(state: State) -> None:
    assert state.value == {"CLOSED": 0, "HALF_OPEN": 1, "OPEN": 2}[state.name]


def test_of_those_who_were_let_through_and_waited_one_is_sent_in_a_pause() -> None:
    breaker = opened()
    assert not breaker.send(4.9)  # it waited since before it opened
    breaker.begin(5)
    breaker.begin(10)
    assert breaker.send(12)
    assert breaker.state is HALF
    assert not breaker.send(12)
    assert not breaker.allows(16.9)  # a probe is on its way
    assert breaker.send(17)
    breaker.good(12, 18)
    assert breaker.send(18)
