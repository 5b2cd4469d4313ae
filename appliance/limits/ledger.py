"""The accounts of limited keys and models: an exchange is admitted or refused when it begins, and settled when it ends.

What an exchange costs, in the account of its key and in that of its model:

    a request       one of `requests_per_minute`, also when the model server fails (OpenAI counts failed ones too)
    its tokens      of `tokens_per_minute`, and of the quotas of a day and a month: what it may need at most is reserved
                    when it begins, and replaced by the model server's own count when it ends
    being there     one of `concurrent`, from admission to settlement
    a refusal       nothing of anything, and so does what never reached a model server

An exchange may use more than it has reserved, when its input was estimated too low. In a bucket that is a debt, and
nothing is admitted until it has refilled.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from appliance.config.schema import Key, Limits, Model
from appliance.domain.http import Ready
from appliance.errors import GatewayError
from appliance.limits.account import Account, Permit, Spent
from appliance.limits.buckets import to_ticks
from appliance.limits.headers import Shown


@dataclass(frozen=True, slots=True)
class Spendings:
    """What was used before this process began: tokens of this day and this month, by name."""

    keys: Mapping[str, Spent] = field(default_factory=dict)
    models: Mapping[str, Spent] = field(default_factory=dict)


_NOTHING = Spendings()
_Pair = tuple[Account | None, Account | None, Shown]
_NO_LIMITS: Mapping[str, Limits] = {}
_MOST_PAIRS = 10_000  # of a key and a model that are remembered; a client of a provider may name any model


def limits_of(sections: Sequence[Key] | Sequence[Model]) -> dict[str, Limits]:
    """The limits of those that have some, by name."""
    return {section.name: section.limits for section in sections if section.limits is not None}


class Ledger:
    """The accounts of all keys and models that have limits; one for the whole process."""

    __slots__ = ("_date", "_keys", "_models", "_pairs")

    def __init__(
        self,
        keys: Mapping[str, Limits],
        models: Mapping[str, Limits] = _NO_LIMITS,
        *,
        date: Callable[[], float],
        spent: Spendings = _NOTHING,
    ) -> None:
        """Limits by the name of the key or model; every bucket starts full.

        Args:
            keys: limits of each key.
            models: limits of all keys together, of each model.
            date: seconds since 1970.
            spent: what has been used of the quotas.
        """
        self._date = date
        self._keys: dict[str, Account] = {}
        self._models: dict[str, Account] = {}
        self._pairs: dict[tuple[str, str], _Pair] = {}  # by key and model: who pays, who pays as well, what is shown
        self.change(keys, models, spent)

    def change(
        self, keys: Mapping[str, Limits], models: Mapping[str, Limits] = _NO_LIMITS, spent: Spendings = _NOTHING
    ) -> None:
        """These are the limits from now on. Who had one before keeps what is used of it.

        A limit a minute that changes its size starts full. `spent` counts for quotas that there were not before.
        """
        self._keys = self._changed("key", self._keys, keys, spent.keys)
        self._models = self._changed("model", self._models, models, spent.models)
        self._pairs.clear()

    def accounts(self) -> list[Account]:
        """All of them, of keys and models."""
        return [*self._keys.values(), *self._models.values()]

    def used(self) -> dict[tuple[str, str, str], float]:
        """The share of each quota that is used: by "key" or "model", its name, and "day" or "month"."""
        date = self._date()
        return {
            (account.noun, account.name, quota.span): 1 - quota.left(date) / quota.limit
            for account in self.accounts()
            for quota in account.quotas
            if quota.limit
        }

    def _changed(
        self, noun: str, before: Mapping[str, Account], limits: Mapping[str, Limits], spent: Mapping[str, Spent]
    ) -> dict[str, Account]:
        accounts = {}
        for name, given in limits.items():
            if given != Limits():
                account = accounts[name] = before.get(name) or Account(noun, name, self._date)
                account.change(given, spent.get(name, Spent()))
        return accounts

    def admit(self, key: str, model: str, tokens: int, now: float) -> Permit | None:
        """Let an exchange begin, and charge it for what it may need.

        Args:
            key: the name of the caller's key.
            model: the public name of the model.
            tokens: input and output that it may need at most.
            now: monotonic seconds, never less than before.

        Returns:
            What the exchange must settle; None without limits.

        Raises:
            GatewayError: `rate_limit_exceeded` or `insufficient_quota`; nothing was charged.
        """
        account, shared, _ = self._pairs.get((key, model)) or self._pair_of(key, model)
        if account is None:
            return None
        tick = to_ticks(now)
        reserved = tokens if tokens > 0 else 1
        date = self._date()
        taken = account.take(reserved, tick, date)
        if shared is None:
            return Permit(account, taken, reserved, None, 0)
        try:
            return Permit(account, taken, reserved, shared, shared.take(reserved, tick, date))
        except GatewayError:
            account.undo(taken, reserved)
            raise

    def headers(self, key: str, model: str, now: float) -> Ready:
        """What is left a minute, of the key's limit or the model's, whichever is less; nothing where there is none."""
        _, _, shown = self._pairs.get((key, model)) or self._pair_of(key, model)
        return shown.at(to_ticks(now))

    def _pair_of(self, key: str, model: str) -> _Pair:
        """The accounts of a key and a model, those that there are, the key's first; the same until limits change."""
        if len(self._pairs) >= _MOST_PAIRS:
            self._pairs.clear()
        accounts = [account for account in (self._keys.get(key), self._models.get(model)) if account is not None]
        limits = {
            "requests": [account.requests for account in accounts if account.requests is not None],
            "tokens": [account.tokens for account in accounts if account.tokens is not None],
        }
        first, second, *_ = *accounts, None, None
        pair = self._pairs[key, model] = first, second, Shown(limits)
        return pair
