from hypothesis import given
from hypothesis import strategies as st

from appliance.observe.exchange_metrics import FIRST_TOKEN, Totals
from appliance.ops.rates import Rate, Rates, quantile


def test_a_rate_is_what_was_added_in_the_last_seconds() -> None:
    rates = Rates()
    for second in range(20):
        output = 0.0 if second < 10 else (second - 10) * 50.0
        rates.sample(second, {"m": Totals(requests=second * 2, input=second * 100, output=output)}, {})
    now = rates.of("m")
    assert (now.requests, now.input, now.output) == (2.0, 100.0, 50.0)
    assert rates.of("nobody") == Rate()
    assert rates.history[-1] == 50.0
    assert rates.history[5] == 0.0


def test_streams_count_as_they_come_and_not_twice_when_they_end() -> None:
    rates = Rates()
    rates.sample(0, {}, {"m": 0})
    rates.sample(1, {}, {"m": 100})
    assert rates.of("m").output == 100.0
    rates.sample(2, {"m": Totals(requests=1, output=200)}, {})
    assert rates.of("m").output == 100.0


def test_a_sum_that_falls_is_no_negative_rate() -> None:
    rates = Rates()
    rates.sample(0, {}, {"m": 100})
    rates.sample(1, {"m": Totals(output=90)}, {})
    assert rates.of("m").output == 0.0


def test_nothing_is_known_before_two_looks() -> None:
    rates = Rates()
    assert rates.of("m") == Rate()
    rates.sample(0, {"m": Totals(requests=5)}, {})
    assert rates.of("m") == Rate()


def test_latencies_are_those_of_the_last_minutes() -> None:
    rates, slow, quick = Rates(), [0] * (len(FIRST_TOKEN) + 1), [0] * (len(FIRST_TOKEN) + 1)
    slow[-2] = 100  # up to 60 s
    quick[3] = 100  # up to 20 ms
    both = [a + b for a, b in zip(slow, quick, strict=True)]
    rates.sample(0, {"m": Totals()}, {})
    rates.sample(10, {"m": Totals(first_token=slow)}, {})
    assert (rates.of("m").first_token or 0) > 45
    for second in range(20, 400, 10):
        rates.sample(second, {"m": Totals(first_token=both)}, {})
    assert rates.of("m").first_token is None, "none in the last five minutes"


@given(st.lists(st.integers(0, 50), min_size=len(FIRST_TOKEN) + 1, max_size=len(FIRST_TOKEN) + 1), st.floats(0.01, 1))
def test_a_quantile_lies_within_the_bounds_and_is_there_when_anything_is(counts: list[int], share: float) -> None:
    found = quantile(counts, FIRST_TOKEN, share)
    assert (found is None) == (not sum(counts))
    assert found is None or 0 <= found <= FIRST_TOKEN[-1]


def test_a_quantile_is_interpolated_within_its_bucket() -> None:
    assert quantile([0, 10, 0], (1.0, 2.0), 0.5) == 1.5
    assert quantile([10, 0, 0], (1.0, 2.0), 0.5) == 0.5
    assert quantile([0, 0, 3], (1.0, 2.0), 0.5) == 2.0
