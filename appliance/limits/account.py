"""The limits of one key or one model, and what is used of them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from appliance.config.schema import Limits
from appliance.errors import GatewayError
from appliance.limits.buckets import MINUTE, TICKS, Bucket, to_ticks
from appliance.limits.quotas import Quota, Span

_NO_LIMIT = 2**60
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

    Whether something fits is asked of every request, so what it takes to answer is kept ready, in whole numbers.

    Attributes:
        noun: "key" or "model".
        told: hears of everything that happens to it, with the tokens taken of its minute, those reserved, and those
            used in the end; None nearly always.
        requests, tokens: its buckets a minute; None without such a limit.
        concurrent: its limit of exchanges at once; None without.
        date: seconds since 1970.
    """

    __slots__ = (
        "_base",
        "_begin",
        "_booked",
        "_end",
        "_free",
        "_most",
        "_places",
        "_quotas",
        "concurrent",
        "date",
        "name",
        "noun",
        "requests",
        "tokens",
        "told",
    )

    def __init__(self, noun: str, name: str, date: Callable[[], float]) -> None:
        """Without limits so far; `noun` is "key" or "model"."""
        self.noun = noun
        self.name = name
        self.date = date
        self.requests: Bucket | None = None
        self.tokens: Bucket | None = None
        self.concurrent: int | None = None
        self._most = self._places = _NO_LIMIT  # exchanges at once, and how many more there may be
        self._quotas: tuple[Quota, ...] = ()
        self._base = self._free = _NO_LIMIT  # tokens that all quotas had at the last look; those that none minds now
        self._booked = 0  # tokens that were used since
        self._begin, self._end = -math.inf, math.inf  # dates between which that look counts
        self.told: Callable[[Account, Event, int, int, int], None] | None = None

    @property
    def held(self) -> int:
        """Tokens that exchanges under way have reserved; for the quotas they count as used."""
        return self._base - self._booked - self._free

    @property
    def under_way(self) -> int:
        """Exchanges that have not ended."""
        return self._most - self._places

    @property
    def quotas(self) -> tuple[Quota, ...]:
        """Of a day and a month, those that there are."""
        self._book()
        return self._quotas

    def change(self, limits: Limits, spent: Spent) -> None:
        """These are its limits from now on; exchanges under way go on counting."""
        self.requests = _bucket(self.requests, limits.requests_per_minute)
        self.tokens = _bucket(self.tokens, limits.tokens_per_minute)
        under_way, self.concurrent = self.under_way, limits.concurrent
        self._most = _NO_LIMIT if limits.concurrent is None else limits.concurrent
        self._places = self._most - under_way
        given: tuple[tuple[Span, int | None, int], ...] = (
            ("day", limits.tokens_per_day, spent.day),
            ("month", limits.tokens_per_month, spent.month),
        )
        self._book()
        date = self.date()
        self._quotas = tuple(self._quota(span, limit, used, date) for span, limit, used in given if limit is not None)
        self._look(date)

    def _quota(self, span: Span, limit: int, used: int, date: float) -> Quota:
        for quota in self._quotas:
            if quota.span == span:
                quota.limit = limit
                return quota
        return Quota(span, limit, used, date)

    def _book(self) -> None:
        """Tell the quotas what was used since the last look, which was in the day and month that they are in."""
        for quota in self._quotas:
            quota.used += self._booked
        self._base -= self._booked
        self._booked = 0

    def _look(self, date: float) -> None:
        """See what the quotas have left, which counts until one of them turns."""
        self._book()
        held = self.held
        self._base = min((quota.left(date) for quota in self._quotas), default=_NO_LIMIT)
        self._free = self._base - held
        # As numbers of the kind that dates are: to compare one with a whole number takes five times as long.
        self._begin = max((float(quota.begin) for quota in self._quotas), default=-math.inf)
        self._end = min((float(quota.end) for quota in self._quotas), default=math.inf)

    def take(self, reserved: int, tick: int, date: float) -> int:  # noqa: C901 - six limits, each in the fewest steps
        """Let an exchange begin that may need so many tokens, at least 1.

        Returns:
            How many of them were taken from the bucket; they and `reserved` are for `end` or `undo`.

        Raises:
            GatewayError: as `Ledger.admit`; nothing was taken.
        """
        if not self._begin <= date < self._end:
            self._look(date)
        if reserved > self._free:
            self._check_quotas(reserved, date)
        if self._places <= 0:
            raise self._refused(reserved, tick)
        requests, tokens = self.requests, self.tokens
        # `Bucket.try_take`, written out for both.
        taken = before = 0
        if requests is not None:
            before = full_at = requests.full_at
            step = tick * requests.capacity
            if full_at < step:
                full_at = step
            elif full_at > step + requests.room - MINUTE:
                raise self._refused(reserved, tick)
            requests.full_at = full_at + MINUTE
        if tokens is not None:
            full_at = tokens.full_at
            capacity = tokens.capacity
            step = tick * capacity
            # What is more than all of it could never be admitted.
            taken = reserved if reserved < capacity else capacity  # noqa: FURB136 - as in `buckets`
            if full_at < step:
                full_at = step
            elif full_at > step + tokens.room - taken * MINUTE:
                if requests is not None:
                    requests.full_at = before
                raise self._refused(reserved, tick)
            tokens.full_at = full_at + taken * MINUTE
        self._free -= reserved
        self._places -= 1
        if self.told is not None:
            self.told(self, "admitted", taken, reserved, 0)
        return taken

    def end(self, taken: int, reserved: int, tokens: int, now: float, date: float) -> None:
        """An exchange that had been admitted has used so many tokens."""
        if not self._begin <= date < self._end:
            self._look(date)
        self._places += 1
        self._free += reserved - tokens
        self._booked += tokens
        bucket = self.tokens
        if bucket is not None:
            if tokens > taken:
                bucket.take(tokens - taken, to_ticks(now))
            else:
                bucket.full_at -= (taken - tokens) * MINUTE  # `Bucket.give_back`
        if self.told is not None:
            self.told(self, "ended", taken, reserved, tokens)

    def undo(self, taken: int, reserved: int) -> None:
        """An exchange that had been admitted never reached a model server: as if it had never been."""
        self._places += 1
        self._free += reserved
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
        self._look(self.date())
        self.hold(standing.held, standing.under_way)

    def hold(self, tokens: int, exchanges: int) -> None:
        """So many exchanges of another process, more or fewer, are under way, and have reserved so many tokens."""
        self._free -= tokens
        self._places -= exchanges

    def admitted(self, taken: int, reserved: int, now: float) -> None:
        """Another process has let an exchange begin, and counts on us to charge for it."""
        tick = to_ticks(now)
        if self.requests is not None:
            self.requests.take(1, tick)
        if self.tokens is not None:
            self.tokens.take(taken, tick)
        self.hold(reserved, 1)

    def _check_quotas(self, tokens: int, date: float) -> None:
        """Refuse what one of them has no room for."""
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

    def _refused(self, reserved: int, tick: int) -> GatewayError:
        """The limit that takes longest to have room again is the one to name."""
        needed = reserved if self.tokens is None else min(reserved, self.tokens.capacity)
        request_wait = 0 if self.requests is None else self.requests.wait_for(1, tick)
        token_wait = 0 if self.tokens is None else self.tokens.wait_for(needed, tick)
        if not request_wait and not token_wait:
            return self._crowded()
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

    __slots__ = ("_account", "_reserved", "_shared", "_taken", "_taken_shared")

    def __init__(self, account: Account, taken: int, reserved: int, shared: Account | None, taken_shared: int) -> None:
        """So many tokens are taken from the minute of its account, and of the one that it shares with others."""
        self._account: Account | None = account  # None when it is over
        self._taken = taken
        self._reserved = reserved
        self._shared = shared
        self._taken_shared = taken_shared

    def settle(self, tokens: int, now: float) -> None:
        """End it with what it used.

        Args:
            tokens: input and output, as the engine counted them; 0 when it did not work.
            now: monotonic seconds.
        """
        account, shared, reserved = self._account, self._shared, self._reserved
        if account is None:
            return
        self._account = None
        date = account.date()
        tokens = tokens if tokens > 0 else 0  # noqa: FURB136 - as in `buckets`; an engine may report anything
        account.end(self._taken, reserved, tokens, now, date)
        if shared is not None:
            shared.end(self._taken_shared, reserved, tokens, now, date)

    def cancel(self) -> None:
        """End it as if it had never been: no model server was asked."""
        account, self._account = self._account, None
        if account is None:
            return
        account.undo(self._taken, self._reserved)
        if self._shared is not None:
            self._shared.undo(self._taken_shared, self._reserved)


def _level(bucket: Bucket | None) -> tuple[int, int] | None:
    return None if bucket is None else (bucket.capacity, bucket.full_at)


def _bucket(before: Bucket | None, capacity: int | None) -> Bucket | None:
    """The bucket of a limit: the one there was if it has the size, else a full one."""
    if capacity is None:
        return None
    return before if before is not None and before.capacity == capacity else Bucket(capacity)
