import dataclasses

import msgspec
import pytest

from appliance.console.pulse import RECENT, SECONDS, Pulse, quantile
from appliance.domain.calls import Usage
from appliance.observe.log import ExchangeRecord
from tests.fakes.records import RECORD


def record(**facts: object) -> ExchangeRecord:
    return msgspec.structs.replace(RECORD, **facts)


def test_a_second_counts_what_ended_in_it() -> None:
    pulse = Pulse()
    pulse.fresh += [record(status=200, usage=Usage(5, 10), ttft_s=0.2), record(status=502, usage=Usage(), ttft_s=None)]
    pulse.beat(100.0, [], 3, 1)
    (second,) = pulse.seconds
    assert dataclasses.asdict(second) == {
        "requests": 2,
        "failed": 1,
        "tokens": 10,
        "first": (0.2,),
        "in_flight": 3,
        "waiting": 1,
    }
    assert [one.date for one in pulse.recent] == [100.0, 100.0]
    pulse.beat(101.0, [], 0, 0)
    assert pulse.seconds[-1].requests == 0


def test_whoever_tells_it_may_keep_hold_of_how() -> None:
    pulse = Pulse()
    tell = pulse.fresh.append
    for date in range(3):
        tell(record())
        pulse.beat(date, [], 0, 0)
    assert [second.requests for second in pulse.seconds] == [1, 1, 1]
    assert len(pulse.recent) == 3


def test_tokens_count_when_they_flow_and_not_again_at_the_end() -> None:
    pulse = Pulse()
    pulse.beat(0, [10, 5], 2, 0)
    pulse.beat(1, [30, 9], 2, 0)
    pulse.fresh.append(record(usage=Usage(1, 31)))
    pulse.beat(2, [9], 1, 0)
    assert [second.tokens for second in pulse.seconds] == [15, 24, 1]


def test_less_than_was_seen_is_no_negative_rate() -> None:
    pulse = Pulse()
    pulse.beat(0, [100], 1, 0)
    pulse.fresh.append(record(usage=Usage(1, 90)))
    pulse.beat(1, [], 0, 0)
    assert [second.tokens for second in pulse.seconds] == [100, 0]


def test_only_so_much_is_remembered_the_newest_first() -> None:
    pulse = Pulse()
    pulse.fresh += [record(request_id=f"r{number}") for number in range(RECENT + 5)]
    for date in range(SECONDS + 5):
        pulse.beat(date, [], 0, 0)
    assert len(pulse.seconds) == SECONDS
    assert len(pulse.recent) == RECENT
    assert pulse.recent[0].record.request_id == f"r{RECENT + 4}"


def test_what_failed_is_remembered_when_others_have_pushed_it_out() -> None:
    pulse = Pulse()
    pulse.fresh += [record(request_id="bad", status=503), record(request_id="theirs", status=404)]
    pulse.beat(0, [], 0, 0)
    for date in range(RECENT + 5):
        pulse.fresh.append(record(status=200))
        pulse.beat(date, [], 0, 0)
    assert "bad" not in [one.record.request_id for one in pulse.recent]
    assert [one.record.request_id for one in pulse.failed] == ["bad"]


def test_the_first_token_is_of_the_last_minute() -> None:
    pulse = Pulse()
    assert pulse.first_token() == (None, None)
    pulse.fresh += [record(ttft_s=9.0)]
    pulse.beat(0, [], 0, 0)
    for date in range(1, 61):
        pulse.fresh += [record(ttft_s=date / 100)]
        pulse.beat(date, [], 0, 0)
    assert pulse.first_token() == pytest.approx((0.31, 0.58))


def test_quantiles() -> None:
    assert quantile([1, 2, 3, 4], 0.5) == 3
    assert quantile([1], 0.95) == 1
    assert quantile([], 0.5) is None
