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
from appliance.domain.http import Headers
from appliance.errors import GatewayError
from appliance.limits.account import Account, Permit, Spent
from appliance.limits.buckets import Bucket, to_ticks
from appliance.limits.headers import rate_limit_headers


@dataclass(frozen=True, slots=True)
class Spendings:
    """What was used before this process began: tokens of this day and this month, by name."""

    keys: Mapping[str, Spent] = field(default_factory=dict)
    models: Mapping[str, Spent] = field(default_factory=dict)


_NOTHING = Spendings()
_NO_LIMITS: Mapping[str, Limits] = {}


def limits_of(sections: Sequence[Key] | Sequence[Model]) -> dict[str, Limits]:
    """The limits of those that have some, by name."""
    return {section.name: section.limits for section in sections if section.limits is not None}


class Ledger:
    """The accounts of all keys and models that have limits; one for the whole process."""

    __slots__ = ("_date", "_keys", "_models")

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
            date: seconds since 1970; asked where there are quotas only.
            spent: what has been used of the quotas.
        """
        self._date = date
        self._keys: dict[str, Account] = {}
        self._models: dict[str, Account] = {}
        self.change(keys, models, spent)

    def change(
        self, keys: Mapping[str, Limits], models: Mapping[str, Limits] = _NO_LIMITS, spent: Spendings = _NOTHING
    ) -> None:
        """These are the limits from now on. Who had one before keeps what is used of it.

        A limit a minute that changes its size starts full. `spent` counts for quotas that there were not before.
        """
        self._keys = self._changed("key", self._keys, keys, spent.keys)
        self._models = self._changed("model", self._models, models, spent.models)

    def accounts(self) -> list[Account]:
        """All of them, of keys and models."""
        return [*self._keys.values(), *self._models.values()]

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
        account = self._keys.get(key)
        permit = None if account is None else account.admit(tokens, now)
        if self._models and (shared := self._models.get(model)) is not None:
            try:
                return shared.admit(tokens, now, permit)
            except GatewayError:
                if permit is not None:
                    permit.cancel()
                raise
        return permit

    def headers(self, key: str, model: str, now: float) -> Headers:
        """What is left a minute, of the key's limit or the model's, whichever is less; nothing where there is none."""
        own, shared = self._keys.get(key), self._models.get(model)
        if own is None and shared is None:
            return []
        tick = to_ticks(now)
        headers: Headers = []
        requests, tokens = (own.requests, own.tokens) if own is not None else (None, None)
        if shared is not None:
            requests = _scarcer(requests, shared.requests, tick)
            tokens = _scarcer(tokens, shared.tokens, tick)
        if requests is not None:
            headers += rate_limit_headers("requests", requests, tick)
        if tokens is not None:
            headers += rate_limit_headers("tokens", tokens, tick)
        return headers


def _scarcer(one: Bucket | None, other: Bucket | None, tick: int) -> Bucket | None:
    if one is None or other is None:
        return one or other
    return one if one.level(tick) <= other.level(tick) else other
