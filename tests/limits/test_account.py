"""Accounts beside the plainest books that there are: fractions, brought up to date before each look."""

from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from appliance.config.schema import Limits
from appliance.errors import GatewayError
from appliance.limits.account import Account, Permit, Spent
from appliance.limits.buckets import TICKS
from appliance.limits.ledger import Ledger

DAY = 86_400
START = 1_800_014_400  # 2027-01-15 12:00 UTC
LIMITS = st.builds(
    Limits,
    requests_per_minute=st.none() | st.integers(1, 20),
    tokens_per_minute=st.none() | st.integers(1, 500),
    concurrent=st.none() | st.integers(1, 5),
    tokens_per_day=st.none() | st.integers(1, 5000),
)


class Books:
    """What one account must be."""

    def __init__(self, limits: Limits) -> None:
        sizes = {"requests": limits.requests_per_minute, "tokens": limits.tokens_per_minute}
        self.capacity = {name: size for name, size in sizes.items() if size is not None}
        self.level = {name: Fraction(size) for name, size in self.capacity.items()}
        self.concurrent = limits.concurrent
        self.quota = limits.tokens_per_day
        self.used: dict[int, int] = {}
        self.under_way: list[tuple[int, int, int]] = []  # number, reserved of the minute, reserved
        self.admitted: dict[int, int] = {}

    def needs(self, estimate: int) -> dict[str, int]:
        return {"requests": 1, "tokens": min(estimate, self.capacity.get("tokens", 0))}

    def pass_time(self, ticks: int) -> None:
        for name, size in self.capacity.items():
            self.level[name] = min(Fraction(size), self.level[name] + Fraction(ticks * size, 60 * TICKS))

    def refuses(self, estimate: int, day: int) -> tuple[str, float] | None:
        """The code, and how long to wait (of a quota: 1 when others hold it)."""
        if self.quota is not None:
            needed = min(estimate, self.quota)
            room = max(self.quota - self.used.get(day, 0), 0)
            if sum(reserved for _, _, reserved in self.under_way) + needed > room:
                return ("insufficient_quota", 0) if needed > room else ("rate_limit_exceeded", 1)
        needs = self.needs(estimate)
        lacks = [(needs[name] - self.level[name]) * 60 / self.capacity[name] for name in self.capacity]
        seconds = max(lacks, default=Fraction(0))
        if seconds > 0:
            return "rate_limit_exceeded", min(seconds.__ceil__(), 60)
        crowded = self.concurrent is not None and len(self.under_way) >= self.concurrent
        return ("rate_limit_exceeded", 1) if crowded else None

    def admit(self, number: int, estimate: int, tick: int) -> None:
        needs = self.needs(estimate)
        for name in self.capacity:
            self.level[name] -= needs[name]
        self.under_way.append((number, needs["tokens"], estimate))
        self.admitted[number] = tick

    def end(self, number: int, used: int | None, day: int) -> None:
        row = next(row for row in self.under_way if row[0] == number)
        self.under_way.remove(row)
        back = {"requests": 1 if used is None else 0, "tokens": row[1] - (used or 0)}
        for name, size in self.capacity.items():
            self.level[name] = min(Fraction(size), self.level[name] + back[name])
        if used is None:
            del self.admitted[number]
        self.used[day] = self.used.get(day, 0) + (used or 0)


class Accounts(RuleBasedStateMachine):
    """Two keys and a model that both use."""

    @initialize(alice=LIMITS, bob=LIMITS, model=LIMITS)
    def begin(self, alice: Limits, bob: Limits, model: Limits) -> None:
        self.tick = 0
        self.ledger = Ledger({"alice": alice, "bob": bob}, {"m": model}, date=lambda: self.date)
        self.books = {"alice": Books(alice), "bob": Books(bob), "m": Books(model)}
        self.under_way: list[tuple[str, int, Permit | None]] = []
        self.over: list[Permit] = []
        self.number = 0

    @property
    def now(self) -> float:
        return self.tick / TICKS

    @property
    def date(self) -> float:
        return START + self.now

    @property
    def day(self) -> int:
        return int(self.date // DAY)

    @rule(ticks=st.integers(0, 5) | st.integers(0, 90 * TICKS) | st.integers(0, DAY * TICKS) | st.just(10**12))
    def wait(self, ticks: int) -> None:
        self.tick += ticks
        for books in self.books.values():
            books.pass_time(ticks)

    @rule(key=st.sampled_from(["alice", "bob"]), estimate=st.integers(0, 600))
    def ask(self, key: str, estimate: int) -> None:
        needed, both = max(estimate, 1), (self.books[key], self.books["m"])
        refusal = next((found for books in both if (found := books.refuses(needed, self.day))), None)
        if refusal is not None:
            with pytest.raises(GatewayError) as caught:
                self.ledger.admit(key, "m", estimate, self.now)
            self.is_told(caught.value, *refusal)
            return
        permit = self.ledger.admit(key, "m", estimate, self.now)
        self.number += 1
        for books in both:
            books.admit(self.number, needed, self.tick)
        self.under_way.append((key, self.number, permit))

    def is_told(self, error: GatewayError, code: str, seconds: float) -> None:
        assert error.code == code
        assert error.retry_after is not None
        if code == "insufficient_quota":
            assert (self.date + error.retry_after) // DAY > self.day
            assert error.retry_after <= DAY
        else:
            assert error.retry_after == seconds

    @rule(place=st.integers(0, 4), used=st.none() | st.integers(-5, 1000))
    def end(self, place: int, used: int | None) -> None:
        if place >= len(self.under_way):
            return
        key, number, permit = self.under_way.pop(place)
        for books in (self.books[key], self.books["m"]):
            books.end(number, None if used is None else max(used, 0), self.day)
        if permit is None:
            assert not self.ledger._keys.get(key)
            assert not self.ledger._models
        elif used is None:
            permit.cancel()
        else:
            permit.settle(used, self.now)
        if permit is not None:
            self.over.append(permit)

    @rule()
    def end_all_again(self) -> None:
        for permit in self.over:
            permit.settle(1000, self.now)
            permit.cancel()

    def accounts(self) -> list[tuple[Books, Account | None]]:
        keys = [(self.books[name], self.ledger._keys.get(name)) for name in ("alice", "bob")]
        return [*keys, (self.books["m"], self.ledger._models.get("m"))]

    @invariant()
    def the_books_agree(self) -> None:
        for books, account in self.accounts():
            if account is None:
                assert (books.capacity, books.quota, books.concurrent) == ({}, None, None)
                continue
            for name, level in books.level.items():
                bucket = account.requests if name == "requests" else account.tokens
                assert bucket is not None
                assert bucket.level(round(self.now * TICKS)) == level.__floor__()
            assert account.under_way == len(books.under_way)
            assert account.held == sum(reserved for _, _, reserved in books.under_way)
            for quota in account.quotas:
                assert quota.left(self.date) == max(quota.limit - books.used.get(self.day, 0), 0)
            assert books.concurrent is None or account.under_way <= books.concurrent

    @invariant()
    def no_stretch_of_time_holds_more_than_a_minutes_worth_and_the_refill(self) -> None:
        for books in self.books.values():
            size, ticks = books.capacity.get("requests"), sorted(books.admitted.values())
            for place, tick in enumerate(ticks):
                count = len(ticks) - place
                assert size is None or count <= size + Fraction((ticks[-1] - tick) * size, 60 * TICKS)

    def teardown(self) -> None:
        """When all has ended and time has passed, every bucket is full again and every place is free."""
        if not hasattr(self, "books"):
            return
        while self.under_way:
            self.end(0, None)
        self.wait(10**13)
        self.the_books_agree()
        for books, account in self.accounts():
            assert books.level == {name: Fraction(size) for name, size in books.capacity.items()}
            assert account is None or (account.under_way, account.held) == (0, 0)


TestAccounts = Accounts.TestCase
TestAccounts.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def test_a_quota_that_is_new_to_an_account_knows_what_is_under_way() -> None:
    account = Account("key", "alice", lambda: float(START))
    account.change(Limits(concurrent=5), Spent())
    taken = account.take(30, 0, account.date())
    account.change(Limits(tokens_per_day=100), Spent(day=20))
    with pytest.raises(GatewayError, match="rate_limit_exceeded"):  # 20 used, 30 reserved
        account.take(51, 0, account.date())
    account.end(taken, 30, 10, 0.0, account.date())
    account.end(account.take(51, 0, account.date()), 51, 51, 0.0, account.date())
    (quota,) = account.quotas
    assert quota.left(START) == 19


def test_of_a_day_and_a_month_the_one_with_less_counts_and_each_turns_by_itself() -> None:
    last_day = datetime(2027, 1, 31, 12, tzinfo=UTC).timestamp()
    dates = [last_day]
    account = Account("key", "alice", lambda: dates[-1])
    account.change(Limits(tokens_per_day=100, tokens_per_month=250), Spent(day=0, month=100))
    refused = pytest.raises(GatewayError, match="insufficient_quota")
    account.end(account.take(90, 0, account.date()), 90, 95, 0.0, account.date())
    with refused as caught:
        account.take(6, 0, account.date())
    assert caught.value.extras == {"limit": "tokens_per_day"}
    dates.append(datetime(2027, 1, 30, 12, tzinfo=UTC).timestamp())  # a clock that is set back gives nothing back
    with refused:
        account.take(6, 0, account.date())
    dates.append(datetime(2027, 2, 1, tzinfo=UTC).timestamp())
    for day in range(2):
        account.end(account.take(100, 0, account.date()), 100, 100, 0.0, account.date())
        dates.append(dates[-1] + DAY * (1 - day))
    with refused as caught:
        account.take(51, 0, account.date())
    assert caught.value.extras == {"limit": "tokens_per_day"}
    dates.append(dates[-1] + DAY)
    with refused as caught:
        account.take(51, 0, account.date())
    assert caught.value.extras == {"limit": "tokens_per_month"}
    account.take(50, 0, account.date())
