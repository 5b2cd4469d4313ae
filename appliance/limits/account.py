"""The limits of one key or one model, and what is used of them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from appliance.config.schema import Limits
from appliance.errors import GatewayError
from appliance.limits.buckets import TICKS, Bucket, to_ticks
from appliance.limits.quotas import Quota, Span

_LONGEST_WAIT = 60  # seconds; some official SDKs ignore a longer one and use a guess of their own


@dataclass(frozen=True, slots=True)
class Spent:
    """Tokens of this day and of this month so far, UTC."""

    day: int = 0
    month: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """All that an account knows, for the process that goes on with it. Both are on one machine and in one boot, so
    that monotonic times mean the same.

    Attributes:
        noun: "key" or "model".
        name: of the key or model.
        requests, tokens: capacity and `full_at` of its buckets a minute; None without such a limit.
        quotas: span, begin and what is used, of each.
        held, under_way: of exchanges that have not ended, and go on in the old process.
    """

    noun: str
    name: str
    requests: tuple[int, int] | None
    tokens: tuple[int, int] | None
    quotas: tuple[tuple[str, int, int], ...]
    held: int
    under_way: int


Event = Literal["admitted", "ended", "undone"]


class Account:
    """What one key or one model has and uses.

    Attributes:
        noun: "key" or "model".
        told: hears of everything that happens to it, with the tokens taken of its minute, those reserved, and those
            used in the end; None nearly always.
        requests, tokens: its buckets a minute; None without such a limit.
        quotas: of a day and a month, those that there are.
        held: tokens that exchanges under way have reserved; for the quotas they count as used.
        under_way: exchanges that have not ended.
    """

    __slots__ = ("_date", "concurrent", "held", "name", "noun", "quotas", "requests", "tokens", "told", "under_way")

    def __init__(self, noun: str, name: str, date: Callable[[], float]) -> None:
        """Without limits so far; `noun` is "key" or "model"."""
        self.noun = noun
        self.name = name
        self._date = date
        self.requests: Bucket | None = None
        self.tokens: Bucket | None = None
        self.concurrent: int | None = None
        self.quotas: tuple[Quota, ...] = ()
        self.held = 0
        self.under_way = 0
        self.told: Callable[[Account, Event, int, int, int], None] | None = None

    def change(self, limits: Limits, spent: Spent) -> None:
        """These are its limits from now on; exchanges under way go on counting."""
        self.requests = _bucket(self.requests, limits.requests_per_minute)
        self.tokens = _bucket(self.tokens, limits.tokens_per_minute)
        self.concurrent = limits.concurrent
        given: tuple[tuple[Span, int | None, int], ...] = (
            ("day", limits.tokens_per_day, spent.day),
            ("month", limits.tokens_per_month, spent.month),
        )
        self.quotas = tuple(self._quota(span, limit, used) for span, limit, used in given if limit is not None)

    def _quota(self, span: Span, limit: int, used: int) -> Quota:
        for quota in self.quotas:
            if quota.span == span:
                quota.limit = limit
                return quota
        return Quota(span, limit, used, self._date())

    def admit(self, tokens: int, now: float, also: "Permit | None" = None) -> "Permit":
        """As `Ledger.admit`; `also` is settled together with what is returned."""
        requests, bucket = self.requests, self.tokens
        reserved = tokens if tokens > 0 else 1
        if self.quotas:
            self._check_quotas(reserved)
        tick = to_ticks(now)
        request_wait = token_wait = taken = 0
        if requests is not None:
            request_wait = requests.try_take(1, tick)
        if bucket is not None:
            taken = min(reserved, bucket.capacity)  # what is more than all of it could never be admitted
            token_wait = bucket.try_take(taken, tick)
        crowded = self.concurrent is not None and self.under_way >= self.concurrent
        if request_wait or token_wait or crowded:
            if requests is not None and not request_wait:
                requests.give_back(1)
            if bucket is not None and not token_wait:
                bucket.give_back(taken)
            if request_wait or token_wait:
                raise self._wait(request_wait, token_wait, taken, tick)
            raise self._crowded()
        self.held += reserved
        self.under_way += 1
        if self.told is not None:
            self.told(self, "admitted", taken, reserved, 0)
        return Permit(self, taken, reserved, also)

    def end(self, taken: int, reserved: int, tokens: int, now: float) -> None:
        """An exchange that had been admitted has used so many tokens."""
        self.under_way -= 1
        self.held -= reserved
        bucket = self.tokens
        if bucket is not None:
            more = tokens - taken
            if more > 0:
                bucket.take(more, to_ticks(now))
            else:
                bucket.give_back(-more)
        if self.quotas:
            date = self._date()
            for quota in self.quotas:
                quota.settle(tokens, date)
        if self.told is not None:
            self.told(self, "ended", taken, reserved, tokens)

    def undo(self, taken: int, reserved: int) -> None:
        """An exchange that had been admitted never reached a model server: as if it had never been."""
        self.under_way -= 1
        self.held -= reserved
        if self.requests is not None:
            self.requests.give_back(1)
        if self.tokens is not None:
            self.tokens.give_back(taken)
        if self.told is not None:
            self.told(self, "undone", taken, reserved, 0)

    def standing(self) -> Standing:
        """All of it as it is now."""
        quotas = tuple((quota.span, quota.begin, quota.used) for quota in self.quotas)
        requests, tokens = _level(self.requests), _level(self.tokens)
        return Standing(self.noun, self.name, requests, tokens, quotas, self.held, self.under_way)

    def take_over(self, standing: Standing) -> None:
        """Go on where another process is. A limit that has another size here starts as it does after a change."""
        for bucket, known in ((self.requests, standing.requests), (self.tokens, standing.tokens)):
            if bucket is not None and known is not None and bucket.capacity == known[0]:
                bucket.full_at = known[1]
        used = {(span, begin): amount for span, begin, amount in standing.quotas}
        for quota in self.quotas:
            quota.used = used.get((quota.span, quota.begin), quota.used)
        self.held += standing.held
        self.under_way += standing.under_way

    def admitted(self, taken: int, reserved: int, now: float) -> None:
        """Another process has let an exchange begin, and counts on us to charge for it."""
        tick = to_ticks(now)
        if self.requests is not None:
            self.requests.take(1, tick)
        if self.tokens is not None:
            self.tokens.take(taken, tick)
        self.held += reserved
        self.under_way += 1

    def _check_quotas(self, tokens: int) -> None:
        date = self._date()
        for quota in self.quotas:
            needed = min(tokens, quota.limit)  # what is more than all of it could never be admitted
            room = quota.left(date)
            if self.held + needed <= room:
                continue
            limit = f"tokens_per_{quota.span}"
            what = f"has {max(room - self.held, 0)} tokens left of its {quota.limit} a {quota.span}"
            if needed <= room:  # what others have reserved and do not use comes back
                what = f"{what}, as requests under way may use the rest, and this one may need {needed}"
                raise self._refusal(limit, f"{what}. Try again when one of them has ended", 1)
            seconds = max(1, math.ceil(quota.end - date))
            words = "tomorrow" if quota.span == "day" else "next month"
            what = f"{what}, and this request may need {needed}. It has them again {words}, at 00:00 UTC"
            raise self._refusal(limit, f"{what}; a smaller `max_tokens` needs less", seconds, "insufficient_quota")

    def _wait(self, request_wait: int, token_wait: int, needed: int, tick: int) -> GatewayError:
        """The limit that takes longer to have room again is the one to name."""
        seconds = -(-max(request_wait, token_wait) // TICKS)
        told = min(seconds, _LONGEST_WAIT)
        if self.tokens is not None and token_wait > request_wait:
            left = max(self.tokens.level(tick), 0)
            what = (
                f"has {left} tokens left of its limit of {self.tokens.capacity} a minute, and this request may need "
                f"{needed}"
            )
            return self._refusal("tokens_per_minute", f"{what}. Try again in {seconds} s", told)
        limit = 0 if self.requests is None else self.requests.capacity
        what = f"has used up its limit of {limit} requests a minute"
        return self._refusal("requests_per_minute", f"{what}. Try again in {seconds} s", told)

    def _crowded(self) -> GatewayError:
        what = f"has {self.under_way} requests under way, and its limit is {self.concurrent} at once"
        return self._refusal("concurrent", f"{what}. Try again when one of them has ended", 1)

    def _refusal(self, limit: str, what: str, seconds: int, code: str = "rate_limit_exceeded") -> GatewayError:
        whose = "the key's own limit" if self.noun == "key" else "the limit of all keys together"
        return GatewayError(
            code,
            f"The {self.noun} {self.name!r} {what}. This is {whose}, not a lack of capacity; the server's owner can "
            f"raise `{limit}` of the {self.noun}.",
            retry_after=seconds,
            extras={"limit": limit},
        )


class Permit:
    """An exchange under way. It is settled or cancelled; what comes first counts, the rest is harmless."""

    __slots__ = ("_account", "_also", "_over", "_reserved", "_taken")

    def __init__(self, account: Account, taken: int, reserved: int, also: "Permit | None") -> None:
        """So many tokens are taken from its account's minute, and so many reserved of its quotas."""
        self._account = account
        self._taken = taken
        self._reserved = reserved
        self._also = also
        self._over = False

    def settle(self, tokens: int, now: float) -> None:
        """End it with what it used.

        Args:
            tokens: input and output, as the engine counted them; 0 when it did not work.
            now: monotonic seconds.
        """
        if self._over:
            return
        self._over = True
        # An engine may report anything.
        self._account.end(self._taken, self._reserved, tokens if tokens > 0 else 0, now)  # noqa: FURB136 - as above
        if self._also is not None:
            self._also.settle(tokens, now)

    def cancel(self) -> None:
        """End it as if it had never been: no model server was asked."""
        if self._over:
            return
        self._over = True
        self._account.undo(self._taken, self._reserved)
        if self._also is not None:
            self._also.cancel()


def _level(bucket: Bucket | None) -> tuple[int, int] | None:
    return None if bucket is None else (bucket.capacity, bucket.full_at)


def _bucket(before: Bucket | None, capacity: int | None) -> Bucket | None:
    """The bucket of a limit: the one there was if it has the size, else a full one."""
    if capacity is None:
        return None
    return before if before is not None and before.capacity == capacity else Bucket(capacity)
