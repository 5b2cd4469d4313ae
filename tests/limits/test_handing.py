"""Two ledgers, one after the other, against one that lives on: they must agree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.schema import Limits
from appliance.errors import GatewayError
from appliance.limits.account import Permit
from appliance.limits.handing import Change, Legacy, give, take_back
from appliance.limits.ledger import Ledger

NOON = 1_800_014_400.0
LIMITS = Limits(
    requests_per_minute=10, tokens_per_minute=1000, concurrent=4, tokens_per_day=5000, tokens_per_month=90_000
)


def ledger(limits: Limits = LIMITS) -> Ledger:
    return Ledger({"alice": limits}, {"m": Limits(tokens_per_minute=1500)}, date=lambda: NOON)


def standings(book: Ledger) -> list[object]:
    return [account.standing() for account in book.accounts()]


def test_a_limit_that_is_used_up_stays_used_up() -> None:
    old, new = ledger(), ledger()
    for _ in range(4):
        old.admit("alice", "m", 100, 50.0)
    Legacy(new, give(old, lambda _: None))
    with pytest.raises(GatewayError) as refused:
        new.admit("alice", "m", 1, 50.0)
    assert refused.value.extras["limit"] == "concurrent"


def test_what_breaks_off_with_the_old_process_is_free_again() -> None:
    old, new = ledger(), ledger()
    for _ in range(4):
        old.admit("alice", "m", 100, 50.0)
    legacy = Legacy(new, give(old, lambda _: None))
    legacy.over()
    legacy.over()
    account = new.accounts()[0]
    assert (account.held, account.under_way) == (0, 0)
    assert new.admit("alice", "m", 1, 50.0) is not None


def test_a_limit_of_another_size_starts_full_and_one_that_is_gone_is_forgotten() -> None:
    old = ledger()
    old.admit("alice", "m", 500, 50.0)
    changes: list[Change] = []
    given = give(old, changes.append)
    new = ledger(Limits(tokens_per_minute=2000))
    Legacy(new, given)
    assert new.accounts()[0].standing().tokens == (2000, 0)
    nobody = Ledger({}, date=lambda: NOON)
    Legacy(nobody, given).apply(Change("key", "alice", "ended", 1, 1, 1), 51.0)
    assert nobody.accounts() == []


def test_after_it_was_taken_back_nobody_is_told() -> None:
    old, changes = ledger(), list[Change]()
    give(old, changes.append)
    take_back(old)
    old.admit("alice", "m", 100, 50.0)
    assert changes == []


Act = tuple[str, str, int, float]
ACTS = st.lists(
    st.tuples(
        st.sampled_from(["old", "new"]),
        st.sampled_from(["admit", "settle", "cancel"]),
        st.integers(1, 400),
        st.floats(0, 20),
    ),
    max_size=40,
)


class Worlds:
    """One ledger for everything, and beside it two of which the second takes over from the first."""

    def __init__(self) -> None:
        self.one, self.old, self.new = ledger(), ledger(), ledger()
        self.now = 100.0
        self.open: dict[str, list[tuple[Permit, Permit]]] = {"old": [], "new": []}

    def act(self, where: str, what: str, tokens: int) -> None:
        if what == "admit":
            found = [self._admit(book, tokens) for book in (self.one, self.old if where == "old" else self.new)]
            whole, half = found
            assert (whole is None) == (half is None)
            if whole is not None and half is not None:
                self.open[where].append((whole, half))
        elif self.open[where]:
            for permit in self.open[where].pop(0):
                if what == "cancel":
                    permit.cancel()
                else:
                    permit.settle(tokens, self.now)

    def _admit(self, book: Ledger, tokens: int) -> Permit | None:
        try:
            return book.admit("alice", "m", tokens, self.now)
        except GatewayError:
            return None


@given(before=ACTS, after=ACTS)
def test_two_processes_charge_what_one_would(before: list[Act], after: list[Act]) -> None:
    worlds = Worlds()
    for _, what, tokens, pause in before:
        worlds.now += pause
        worlds.act("old", what, tokens)
    changes: list[Change] = []
    legacy = Legacy(worlds.new, give(worlds.old, changes.append))
    assert standings(worlds.new) == standings(worlds.one)
    for where, what, tokens, pause in after:
        worlds.now += pause
        if (where, what) != ("old", "admit"):  # rare, and decided by what the old one knows
            worlds.act(where, what, tokens)
        for change in changes:
            legacy.apply(change, worlds.now)
        changes.clear()
        assert standings(worlds.new) == standings(worlds.one)


def test_what_the_old_one_still_lets_in_is_charged_here() -> None:
    old, new = ledger(), ledger()
    changes: list[Change] = []
    legacy = Legacy(new, give(old, changes.append))
    permit = old.admit("alice", "m", 100, 50.0)
    assert permit is not None
    for change in changes:
        legacy.apply(change, 50.0)
    assert new.accounts()[0].under_way == 1
    assert standings(new) == standings(old)
    changes.clear()
    permit.settle(60, 51.0)
    for change in changes:
        legacy.apply(change, 51.0)
    assert standings(new) == standings(old)
    assert new.accounts()[0].under_way == 0
