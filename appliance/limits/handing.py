"""The accounts of a ledger, handed to another process while exchanges go on in both: nothing is forgiven, and nothing
is charged twice.

    standings = give(ledger, told)        # in the old process; from here on `told` hears what its exchanges do
    legacy = Legacy(ledger, standings)    # in the new one, which is the one that counts from now on
    legacy.apply(change, now)             # for each thing that the old one told
    legacy.over()                         # the old one has ended: what its exchanges still held is free again
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from appliance.limits.account import Account, Event, Standing
from appliance.limits.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Change:
    """What an exchange of the old process did to an account.

    Attributes:
        noun, name: of the account.
        what: an exchange was let in, has ended, or was undone.
        taken: tokens of the account's minute.
        reserved: tokens of its quotas.
        tokens: used in the end.
    """

    noun: str
    name: str
    what: Event
    taken: int
    reserved: int
    tokens: int = 0


def give(ledger: Ledger, told: Callable[[Change], None]) -> list[Standing]:
    """How every account stands; from now on `told` hears of each change of one. It must not raise."""

    def tell(account: Account, what: Event, taken: int, reserved: int, tokens: int) -> None:
        told(Change(account.noun, account.name, what, taken, reserved, tokens))

    accounts = ledger.accounts()
    for account in accounts:
        account.told = tell
    return [account.standing() for account in accounts]


def take_back(ledger: Ledger) -> None:
    """The other process will not have them: nobody is told any more."""
    for account in ledger.accounts():
        account.told = None


class Legacy:
    """What the exchanges of the old process hold in a ledger of the new one."""

    def __init__(self, ledger: Ledger, standings: Sequence[Standing]) -> None:
        """Take over how the accounts stand; those that there are not here have no limit any more."""
        ours = {(account.noun, account.name): account for account in ledger.accounts()}
        self._accounts: dict[tuple[str, str], Account] = {}
        self._held: dict[tuple[str, str], int] = {}
        self._under_way: dict[tuple[str, str], int] = {}
        for standing in standings:
            whose = (standing.noun, standing.name)
            if (account := ours.get(whose)) is not None:
                account.take_over(standing)
                self._accounts[whose] = account
                self._held[whose], self._under_way[whose] = standing.held, standing.under_way

    def apply(self, change: Change, now: float) -> None:
        """An exchange over there has done something; `now` is monotonic seconds."""
        whose = (change.noun, change.name)
        account = self._accounts.get(whose)
        if account is None:
            return
        if change.what == "admitted":
            account.admitted(change.taken, change.reserved, now)
        elif change.what == "ended":
            account.end(change.taken, change.reserved, change.tokens, now, account.date())
        else:
            account.undo(change.taken, change.reserved)
        sign = 1 if change.what == "admitted" else -1
        self._held[whose] += sign * change.reserved
        self._under_way[whose] += sign

    def over(self) -> None:
        """There is no exchange over there any more; what broke off unsettled is charged to nobody's quota."""
        for whose, account in self._accounts.items():
            account.hold(-self._held[whose], -self._under_way[whose])
        self._accounts.clear()
