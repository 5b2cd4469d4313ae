import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.schema import Key, Limits, Model
from appliance.errors import GatewayError
from appliance.limits.account import Permit, Spent
from appliance.limits.ledger import Ledger, Spendings, limits_of

RATE = "rate_limit_exceeded"
WHAT = ("limit", "remaining", "reset")


NOON = 1_800_014_400.0  # 2027-01-15 12:00 UTC


def ledger(
    *,
    requests: int | None = None,
    tokens: int | None = None,
    concurrent: int | None = None,
    day: int | None = None,
    month: int | None = None,
    date: Callable[[], float] = lambda: NOON,
    spent: Spent | None = None,
) -> Ledger:
    limits = Limits(
        requests_per_minute=requests,
        tokens_per_minute=tokens,
        concurrent=concurrent,
        tokens_per_day=day,
        tokens_per_month=month,
    )
    return Ledger({"alice": limits}, date=date, spent=Spendings({"alice": spent} if spent else {}))


def admit(book: Ledger, now: float = 0.0, estimate: int = 0, *, key: str = "alice", model: str = "m") -> Permit:
    permit = book.admit(key, model, estimate, now)
    assert permit is not None
    return permit


def refused(
    book: Ledger, now: float = 0.0, estimate: int = 0, *, key: str = "alice", model: str = "m", code: str = RATE
) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        book.admit(key, model, estimate, now)
    assert caught.value.code == code
    return caught.value


def left(book: Ledger, what: str, now: float = 0.0) -> int:
    return int(dict(book.headers("alice", "m", now).headers)[f"x-ratelimit-remaining-{what}"])


def test_a_key_without_limits_has_nothing_to_settle_and_no_headers() -> None:
    book = Ledger({"free": Limits()}, date=lambda: NOON)
    for key in ("free", "env-1"):
        assert book.admit(key, "m", 10**9, 0.0) is None
        assert book.headers(key, "m", 0.0).headers == []


def test_keys_do_not_share_their_limits() -> None:
    one = Limits(requests_per_minute=1)
    book = Ledger({"alice": one, "bob": one}, date=lambda: NOON)
    admit(book)
    refused(book)
    admit(book, key="bob")


def test_a_thousand_at_the_same_instant_admit_exactly_the_capacity() -> None:
    book = ledger(requests=100, tokens=1000, concurrent=1000)
    rng, open_permits, admitted = random.Random(1), [], 0
    for _ in range(1000):
        try:
            open_permits.append(admit(book, 5.0, 10))
            admitted += 1
        except GatewayError:
            pass
        if open_permits and rng.random() < 0.5:
            open_permits.pop(rng.randrange(len(open_permits))).settle(10, 5.0)
    assert admitted == 100


def test_no_more_than_the_limit_are_under_way_and_each_place_is_given_on_once() -> None:
    book = ledger(concurrent=2)
    first, second = admit(book), admit(book)
    error = refused(book)
    assert error.retry_after == 1
    assert error.extras == {"limit": "concurrent"}
    assert "2 requests under way" in error.message
    first.settle(10, 1.0)
    first.settle(10, 1.0)
    first.cancel()
    admit(book, 1.0)
    refused(book, 1.0)
    second.cancel()
    second.cancel()
    second.settle(10, 1.0)
    admit(book, 1.0)
    refused(book, 1.0)


def test_a_refusal_costs_nothing_in_any_bucket() -> None:
    book = ledger(requests=10, tokens=100, concurrent=1)
    held = admit(book, 0.0, 40)
    for _ in range(50):
        refused(book, 0.0, 10)  # concurrent
        refused(book, 0.0, 90)  # tokens
    assert (left(book, "requests"), left(book, "tokens")) == (9, 60)
    held.cancel()
    admit(book, 0.0, 100)


def test_the_reservation_is_replaced_by_what_the_engine_counted() -> None:
    book = ledger(tokens=1000)
    assert left(book, "tokens") == 1000
    admit(book, 0.0, 300).settle(120, 0.0)
    assert left(book, "tokens") == 880
    admit(book, 0.0, 300).settle(400, 0.0)
    assert left(book, "tokens") == 480


def test_what_is_more_than_reserved_is_charged_when_it_is_known_not_before() -> None:
    book = ledger(tokens=100)
    permit = admit(book, 0.0, 10)
    assert left(book, "tokens", 90.0) == 100
    permit.settle(50, 90.0)
    assert left(book, "tokens", 90.0) == 60


def test_an_engine_that_was_asked_and_did_not_work_costs_a_request_and_no_tokens() -> None:
    book = ledger(requests=10, tokens=1000, day=5000)
    permit = admit(book, 0.0, 300)
    assert left(book, "tokens") == 700
    permit.settle(0, 0.0)
    permit.settle(500, 0.0)
    assert (left(book, "requests"), left(book, "tokens")) == (9, 1000)
    admit(book, 0.0, 1000).cancel()


def test_what_never_reached_an_engine_costs_nothing() -> None:
    book = ledger(requests=10, tokens=1000, concurrent=1, day=1000)
    for _ in range(50):
        permit = admit(book, 0.0, 1000)
        permit.cancel()
        permit.settle(500, 0.0)
    assert (left(book, "requests"), left(book, "tokens")) == (10, 1000)


def test_an_engine_that_reports_less_than_nothing_gives_nothing_away() -> None:
    book = ledger(tokens=1000)
    admit(book, 0.0, 0).settle(400, 0.0)
    admit(book, 0.0, 300).settle(-(10**6), 0.0)
    assert left(book, "tokens") == 600


def test_an_answer_may_use_more_than_is_left_and_then_nobody_gets_in_until_it_has_refilled() -> None:
    book = ledger(tokens=60)
    admit(book, 0.0, 10).settle(90, 0.0)
    error = refused(book, 0.0, 0)
    assert error.retry_after == 31
    assert error.extras == {"limit": "tokens_per_minute"}
    assert "has 0 tokens left of its limit of 60 a minute, and this request may need 1" in error.message
    refused(book, 30.9, 0)
    admit(book, 31.0, 0)


def test_a_debt_of_more_than_a_minute_is_told_but_the_header_stays_at_sixty() -> None:
    book = ledger(tokens=60)
    admit(book, 0.0, 10).settle(360, 0.0)
    error = refused(book, 0.0, 0)
    assert error.retry_after == 60
    assert "Try again in 301 s" in error.message


def test_a_body_larger_than_the_limit_waits_for_a_full_bucket_not_for_ever() -> None:
    book = ledger(tokens=60)
    permit = admit(book, 0.0, 10**9)
    assert left(book, "tokens") == 0
    permit.settle(1, 0.0)
    assert refused(book, 0.0, 10**9).retry_after == 1
    admit(book, 1.0, 10**9)


def test_a_refusal_names_the_limit_that_takes_longest_its_value_and_whose_it_is() -> None:
    book = ledger(requests=2, tokens=6000)
    admit(book, 0.0, 3000)
    admit(book, 0.0, 3000)
    error = refused(book, 0.0, 100)  # a request in 30 s, the tokens in 1 s
    assert error.retry_after == 30
    assert error.extras == {"limit": "requests_per_minute"}
    assert error.message == (
        "The key 'alice' has used up its limit of 2 requests a minute. Try again in 30 s. This is the key's own limit, "
        "not a lack of capacity; the server's owner can raise `requests_per_minute` of the key."
    )
    assert refused(book, 0.0, 6000).extras == {"limit": "tokens_per_minute"}


def test_the_headers_are_those_of_the_limits_that_there_are() -> None:
    assert ledger(concurrent=1).headers("alice", "m", 0.0).headers == []
    both = dict(ledger(requests=5, tokens=50).headers("alice", "m", 0.0).headers)
    assert len(both) == 6
    assert (both["x-ratelimit-limit-requests"], both["x-ratelimit-limit-tokens"]) == ("5", "50")
    assert len(ledger(tokens=50).headers("alice", "m", 0.0).headers) == 3


def test_a_huge_jump_of_the_clock_fills_the_bucket_once() -> None:
    book = ledger(requests=3)
    for now in (0.0, 1e9):
        for _ in range(3):
            admit(book, now)
        refused(book, now)


@given(st.integers(1, 10_000), st.integers(1, 10_000_000), st.floats(0, 1e7), st.data())
def test_who_waits_as_long_as_told_gets_in(requests: int, tokens: int, now: float, data: st.DataObject) -> None:
    book = ledger(requests=requests, tokens=tokens)
    spent = data.draw(st.integers(0, 2 * tokens))
    admit(book, now).settle(spent, now)
    estimate = data.draw(st.integers(0, 2 * tokens))
    try:
        admit(book, now, estimate)
    except GatewayError as error:
        wait = error.retry_after
        assert wait is not None
        assert wait in range(1, 61)
        if spent <= tokens:  # more would be a debt, and its wait may be longer than what is told
            admit(book, now + wait + 1e-6, estimate)  # no clock of a client is as fine as that


def test_quotas_hold_for_the_day_and_the_month_whichever_is_less() -> None:
    book = ledger(day=100, month=150)
    admit(book, 0.0, 100).settle(100, 0.0)
    error = refused(book, 0.0, 1, code="insufficient_quota")
    assert error.extras == {"limit": "tokens_per_day"}
    assert error.retry_after == 12 * 3600
    assert error.message == (
        "The key 'alice' has 0 tokens left of its 100 a day, and this request may need 1. It has them again tomorrow, "
        "at 00:00 UTC; a smaller `max_tokens` needs less. This is the key's own limit, not a lack of capacity; the "
        "server's owner can raise `tokens_per_day` of the key."
    )


def test_what_is_reserved_counts_until_it_is_known_better_and_whoever_waits_for_it_is_told_so() -> None:
    book = ledger(day=100)
    first = admit(book, 0.0, 80)
    error = refused(book, 0.0, 30)
    assert (error.retry_after, error.extras) == (1, {"limit": "tokens_per_day"})
    assert "has 20 tokens left of its 100 a day, as requests under way may use the rest" in error.message
    first.settle(70, 0.0)
    admit(book, 0.0, 30).settle(30, 0.0)
    refused(book, 0.0, 1, code="insufficient_quota")


def test_a_request_that_could_need_more_than_all_of_a_quota_gets_in_while_nothing_is_used() -> None:
    book = ledger(day=100)
    admit(book, 0.0, 10**9).settle(1, 0.0)
    refused(book, 0.0, 10**9, code="insufficient_quota")
    admit(book, 0.0, 99)


@pytest.mark.parametrize(
    ("span", "last", "first"),
    [
        ("day", datetime(2027, 1, 15, 23, 59, 59, 999_000, UTC), datetime(2027, 1, 16, tzinfo=UTC)),
        ("month", datetime(2027, 1, 31, 23, 59, 59, 999_000, UTC), datetime(2027, 2, 1, tzinfo=UTC)),
        ("month", datetime(2027, 12, 31, 23, 59, 59, 999_000, UTC), datetime(2028, 1, 1, tzinfo=UTC)),
        ("month", datetime(2028, 2, 29, 23, 59, 59, 999_000, UTC), datetime(2028, 3, 1, tzinfo=UTC)),
    ],
)
def test_at_midnight_in_utc_a_new_span_begins_and_not_a_moment_earlier(
    span: str, last: datetime, first: datetime
) -> None:
    clock = last - timedelta(hours=1)

    def date() -> float:
        return clock.timestamp()

    book = ledger(day=100, date=date) if span == "day" else ledger(month=100, date=date)
    admit(book, 0.0, 60).settle(60, 0.0)
    over_the_border = admit(book, 0.0, 40)
    clock = last
    assert refused(book, 0.0, 1).extras == {"limit": f"tokens_per_{span}"}
    clock = first
    over_the_border.settle(40, 0.0)  # it counts where it ends
    admit(book, 0.0, 60).settle(60, 0.0)
    refused(book, 0.0, 1, code="insufficient_quota")
    clock = first - timedelta(seconds=5)  # the clock was set back a little
    refused(book, 0.0, 1, code="insufficient_quota")
    clock = first
    refused(book, 0.0, 1, code="insufficient_quota")


def test_what_was_used_before_a_restart_counts() -> None:
    book = ledger(day=100, month=1000, spent=Spent(day=90, month=995))
    refused(book, 0.0, 6, code="insufficient_quota")
    admit(book, 0.0, 5).settle(5, 0.0)
    assert refused(book, 0.0, 1, code="insufficient_quota").extras == {"limit": "tokens_per_month"}


def test_a_model_has_limits_for_all_keys_together() -> None:
    limits = {"small": Limits(requests_per_minute=3, concurrent=2, tokens_per_day=100)}
    book = Ledger({"alice": Limits(requests_per_minute=2)}, limits, date=lambda: NOON)
    first = admit(book, key="alice", model="small")
    second = admit(book, key="env-1", model="small")
    assert book.admit("env-1", "large", 5, 0.0) is None
    error = refused(book, key="alice", model="small")
    assert error.message.startswith("The model 'small' has 2 requests under way")
    assert "the limit of all keys together" in error.message
    second.cancel()
    first.settle(30, 0.0)
    admit(book, key="env-1", estimate=70, model="small")
    assert refused(book, key="env-1", model="small").extras == {"limit": "tokens_per_day"}


def test_what_the_model_refuses_costs_the_key_nothing() -> None:
    own = Limits(requests_per_minute=5, tokens_per_minute=100, concurrent=5, tokens_per_day=100)
    book = Ledger({"alice": own}, {"m": Limits(concurrent=1)}, date=lambda: NOON)
    held = admit(book, 0.0, 10)
    for _ in range(20):
        refused(book, 0.0, 90)
    assert (left(book, "requests"), left(book, "tokens")) == (4, 90)
    held.settle(10, 0.0)
    admit(book, 0.0, 90)


def test_headers_tell_the_limit_with_less_left() -> None:
    own, shared = Limits(requests_per_minute=5, tokens_per_minute=50), Limits(requests_per_minute=3)
    book = Ledger({"alice": own}, {"m": shared}, date=lambda: NOON)
    told = dict(book.headers("alice", "m", 0.0).headers)
    assert (told["x-ratelimit-limit-requests"], told["x-ratelimit-limit-tokens"]) == ("3", "50")
    assert dict(book.headers("alice", "other", 0.0).headers)["x-ratelimit-limit-requests"] == "5"
    assert dict(book.headers("bob", "m", 0.0).headers).keys() == {f"x-ratelimit-{w}-requests" for w in WHAT}
    assert book.headers("bob", "other", 0.0).headers == []
    book.change({"alice": Limits(requests_per_minute=7)}, {})
    assert dict(book.headers("alice", "m", 0.0).headers)["x-ratelimit-limit-requests"] == "7"
    assert book.headers("bob", "m", 0.0).headers == []


def test_a_change_keeps_what_is_used_and_what_is_under_way() -> None:
    book = ledger(requests=5, day=100, concurrent=2)
    admit(book, 0.0, 40).settle(40, 0.0)
    held = admit(book, 0.0, 50)
    changed = Limits(requests_per_minute=5, tokens_per_day=80, tokens_per_month=1000, concurrent=1)
    book.change({"alice": changed}, {}, Spendings({"alice": Spent(day=1, month=940)}))
    assert left(book, "requests") == 3
    assert refused(book, 0.0, 1).extras == {"limit": "tokens_per_day"}  # 40 used and 50 reserved of 80
    held.settle(10, 0.0)
    admit(book, 0.0, 30).cancel()
    refused(book, 0.0, 31, code="insufficient_quota")
    admit(book, 0.0, 30).settle(30, 0.0)
    changed = Limits(tokens_per_month=1000)
    book.change({"alice": changed})
    admit(book, 0.0, 20).settle(20, 0.0)  # 940 as given, and what has ended since
    assert refused(book, 0.0, 1, code="insufficient_quota").extras == {"limit": "tokens_per_month"}
    book.change({})
    assert book.admit("alice", "m", 10**9, 0.0) is None


def test_sections_without_limits_have_none() -> None:
    some = Limits(concurrent=1)
    assert limits_of([Key(name="a", hash="", limits=some), Key(name="b", hash="")]) == {"a": some}
    assert limits_of([Model(name="m", targets=(), limits=some)]) == {"m": some}


def test_how_far_quotas_are_used_is_told_by_name_and_span() -> None:
    book = ledger(day=100, month=1_000, requests=5, spent=Spent(25, 250))
    assert book.used() == {("key", "alice", "day"): 0.25, ("key", "alice", "month"): 0.25}
    permit = book.admit("alice", "m", 50, 0.0)
    assert permit is not None
    permit.settle(50, 1.0)
    assert book.used()["key", "alice", "day"] == 0.75
    assert ledger(requests=5).used() == {}
