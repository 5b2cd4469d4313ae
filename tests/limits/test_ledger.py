import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from appliance.config.schema import KeyLimits
from appliance.errors import GatewayError
from appliance.limits.buckets import TICKS
from appliance.limits.ledger import Ledger, Permit, estimate_tokens


def ledger(*, requests: int | None = None, tokens: int | None = None, concurrent: int | None = None) -> Ledger:
    limits = KeyLimits(requests_per_minute=requests, tokens_per_minute=tokens, concurrent=concurrent)
    return Ledger({"alice": limits})


def admit(book: Ledger, now: float = 0.0, estimate: int = 0) -> Permit:
    permit = book.admit("alice", estimate, now)
    assert permit is not None
    return permit


def refused(book: Ledger, now: float = 0.0, estimate: int = 0) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        book.admit("alice", estimate, now)
    assert caught.value.code == "rate_limit_exceeded"
    return caught.value


def left(book: Ledger, what: str, now: float = 0.0) -> int:
    return int(dict(book.headers("alice", now))[f"x-ratelimit-remaining-{what}"])


def test_a_key_without_limits_has_nothing_to_settle_and_no_headers() -> None:
    book = Ledger({"free": KeyLimits()})
    for key in ("free", "env-1"):
        assert book.admit(key, 10**9, 0.0) is None
        assert book.headers(key, 0.0) == []


def test_keys_do_not_share_their_limits() -> None:
    book = Ledger({"alice": KeyLimits(requests_per_minute=1), "bob": KeyLimits(requests_per_minute=1)})
    admit(book)
    refused(book)
    assert book.admit("bob", 0, 0.0)


@pytest.mark.parametrize(("size", "tokens"), [(0, 0), (3, 0), (4, 1), (1000, 250)])
def test_the_input_is_estimated_by_the_size_of_the_body(size: int, tokens: int) -> None:
    assert estimate_tokens(size) == tokens


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


def test_where_the_engine_never_said_the_reservation_can_stand() -> None:
    book = ledger(tokens=1000)
    permit = admit(book, 0.0, 300)
    permit.settle(permit.reserved + 20, 0.0)
    assert left(book, "tokens") == 680


def test_an_exchange_that_used_nothing_is_a_request_and_no_tokens() -> None:
    book = ledger(requests=10, tokens=1000)
    permit = admit(book, 0.0, 300)
    assert left(book, "tokens") == 700
    permit.cancel()
    permit.settle(500, 0.0)
    assert (left(book, "requests"), left(book, "tokens")) == (9, 1000)


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
    assert "has 0 tokens left of its limit of 60 a minute, and this request needs about 1" in error.message
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
    assert permit.reserved == 60
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
    assert ledger(concurrent=1).headers("alice", 0.0) == []
    both = dict(ledger(requests=5, tokens=50).headers("alice", 0.0))
    assert len(both) == 6
    assert (both["x-ratelimit-limit-requests"], both["x-ratelimit-limit-tokens"]) == ("5", "50")
    assert len(ledger(tokens=50).headers("alice", 0.0)) == 3


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


class Limits(RuleBasedStateMachine):
    """A ledger beside the plainest books that there are: fractions, brought up to date before each look."""

    @initialize(
        requests=st.none() | st.integers(1, 20),
        tokens=st.integers(1, 500) | st.none(),
        concurrent=st.none() | st.integers(1, 5),
    )
    def begin(self, requests: int | None, tokens: int | None, concurrent: int | None) -> None:
        self.book = ledger(requests=requests, tokens=tokens, concurrent=concurrent)
        given = {"requests": requests, "tokens": tokens}
        self.capacity = {name: size for name, size in given.items() if size is not None}
        self.level = {name: Fraction(size) for name, size in self.capacity.items()}
        self.concurrent = concurrent
        self.tick = 0
        self.under_way: list[Permit | None] = []
        self.over: list[Permit] = []
        self.admitted: list[int] = []

    @property
    def now(self) -> float:
        return self.tick / TICKS

    def pass_time(self, ticks: int) -> None:
        self.tick += ticks
        for name, size in self.capacity.items():
            self.level[name] = min(Fraction(size), self.level[name] + Fraction(ticks * size, 60 * TICKS))

    @rule(ticks=st.integers(0, 5) | st.integers(0, 90 * TICKS) | st.just(10**12))
    def wait(self, ticks: int) -> None:
        self.pass_time(ticks)

    @rule(estimate=st.integers(0, 600))
    def ask(self, estimate: int) -> None:
        needs = {"requests": 1, "tokens": min(max(estimate, 1), self.capacity.get("tokens", 0))}
        lacks = {name: needs[name] - self.level[name] for name in self.capacity if needs[name] > self.level[name]}
        full = self.concurrent is not None and len(self.under_way) >= self.concurrent
        if lacks or full:
            error = refused(self.book, self.now, estimate)
            seconds = max((lack * 60 / self.capacity[name] for name, lack in lacks.items()), default=Fraction(1))
            assert error.retry_after == min(seconds.__ceil__(), 60)
            return
        self.under_way.append(self.book.admit("alice", estimate, self.now))
        self.admitted.append(self.tick)
        for name in self.capacity:
            self.level[name] -= needs[name]

    @rule(place=st.integers(0, 4), used=st.none() | st.integers(-5, 1000))
    def end(self, place: int, used: int | None) -> None:
        if place >= len(self.under_way):
            return
        permit = self.under_way.pop(place)
        if permit is None:
            assert not self.capacity
            assert self.concurrent is None
            return
        if used is None:
            permit.cancel()
        else:
            permit.settle(used, self.now)
        self.over.append(permit)
        if "tokens" in self.capacity:
            level = self.level["tokens"] + permit.reserved - max(used or 0, 0)
            self.level["tokens"] = min(Fraction(self.capacity["tokens"]), level)

    @rule()
    def end_all_again(self) -> None:
        for permit in self.over:
            permit.settle(1000, self.now)
            permit.cancel()

    @invariant()
    def the_books_agree(self) -> None:
        told = dict(self.book.headers("alice", self.now))
        assert {name: int(told[f"x-ratelimit-remaining-{name}"]) for name in self.capacity} == {
            name: max(level.__floor__(), 0) for name, level in self.level.items()
        }
        account = self.book._accounts.get("alice")
        if account is not None:
            assert account.under_way == len(self.under_way)
            assert self.concurrent is None or account.under_way <= self.concurrent

    @invariant()
    def no_stretch_of_time_holds_more_than_a_minutes_worth_and_the_refill(self) -> None:
        size = self.capacity.get("requests")
        for place, tick in enumerate(self.admitted):
            count = len(self.admitted) - place
            assert size is None or count <= size + Fraction((self.admitted[-1] - tick) * size, 60 * TICKS)

    def teardown(self) -> None:
        """When all has ended and time has passed, every bucket is full again and every place is free."""
        if not hasattr(self, "book"):
            return
        for permit in self.under_way:
            if permit is not None:
                permit.cancel()
        self.under_way = []
        self.pass_time(10**13)
        for name, size in self.capacity.items():
            assert left(self.book, name, self.now) == size
        self.the_books_agree()


TestLimits = Limits.TestCase
TestLimits.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
