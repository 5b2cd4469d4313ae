"""Every limited key's account: an exchange is admitted or refused when it begins, and settled when it ends.

What an exchange costs:

    a request       one of `requests_per_minute`, whatever becomes of it (OpenAI counts failed ones too)
    its tokens      of `tokens_per_minute`: an estimate of its input is reserved when it begins and replaced by the
                    engine's own count, input and output, when it ends. Nothing is reserved for the output.
    being there     one of `concurrent`, from admission to settlement
    a refusal       nothing of anything

The count at the end may be more than the bucket holds. That is a debt, and nothing is admitted until it has refilled.
"""

from collections.abc import Mapping

from appliance.config.schema import KeyLimits
from appliance.domain.http import Headers
from appliance.errors import GatewayError
from appliance.limits.buckets import TICKS, Bucket, to_ticks
from appliance.limits.headers import rate_limit_headers

_BYTES_A_TOKEN = 4  # of a JSON body; only a guess, until the engine has counted
_LONGEST_WAIT = 60  # seconds; some official SDKs ignore a longer one and use a guess of their own


def estimate_tokens(body_bytes: int) -> int:
    """How many tokens the input of a request will be, by the size of its body."""
    return body_bytes // _BYTES_A_TOKEN


class Ledger:
    """The accounts of all keys that have limits; one for the whole process."""

    __slots__ = ("_accounts",)

    def __init__(self, limits: Mapping[str, KeyLimits]) -> None:
        """`limits` by the name of the key; every bucket starts full."""
        self._accounts: dict[str, _Account] = {}
        self.change(limits)

    def change(self, limits: Mapping[str, KeyLimits]) -> None:
        """These are the limits from now on. Who had one before keeps what is used of it, unless its size changed."""
        before = self._accounts
        self._accounts = {
            name: before[name].changed(given) if name in before else _Account(name, given)
            for name, given in limits.items()
            if given != KeyLimits()
        }

    def admit(self, key: str, input_estimate: int, now: float) -> "Permit | None":
        """Let an exchange begin, and charge it for what is known so far.

        Args:
            key: the name of the caller's key.
            input_estimate: tokens (`estimate_tokens`).
            now: monotonic seconds, never less than before.

        Returns:
            What the exchange must settle; None for a key without limits.

        Raises:
            GatewayError: `rate_limit_exceeded`; nothing was charged.
        """
        account = self._accounts.get(key)
        return None if account is None else account.admit(input_estimate, now)

    def headers(self, key: str, now: float) -> Headers:
        """What is left of the key's limits; nothing for a limit that it does not have."""
        account = self._accounts.get(key)
        return [] if account is None else account.headers(to_ticks(now))


class Permit:
    """An exchange under way. It is settled or cancelled; what comes first counts, the rest is harmless.

    Attributes:
        reserved: tokens that were charged at admission, at most a minute's worth.
    """

    __slots__ = ("_account", "_over", "reserved")

    def __init__(self, account: "_Account", reserved: int) -> None:
        self._account = account
        self._over = False
        self.reserved = reserved

    def settle(self, tokens: int, now: float) -> None:
        """End it with what it used.

        Args:
            tokens: input and output, as the engine counted them. Where it worked and never said, `reserved` and
                whatever output was seen.
            now: monotonic seconds.
        """
        if self._over:
            return
        self._over = True
        account = self._account
        account.under_way -= 1
        bucket = account.tokens
        if bucket is None:
            return
        more = max(tokens, 0) - self.reserved  # an engine may report anything
        if more > 0:
            bucket.take(more, to_ticks(now))
        else:
            bucket.give_back(-more)

    def cancel(self) -> None:
        """End it with nothing used, as no engine worked for it: the tokens go back, the request still counts."""
        if self._over:
            return
        self._over = True
        self._account.under_way -= 1
        if self._account.tokens is not None:
            self._account.tokens.give_back(self.reserved)


class _Account:
    """The limits of one key and what is used of them."""

    __slots__ = ("concurrent", "name", "requests", "tokens", "under_way")

    def __init__(self, name: str, limits: KeyLimits) -> None:
        self.name = name
        self.requests = _bucket(None, limits.requests_per_minute)
        self.tokens = _bucket(None, limits.tokens_per_minute)
        self.concurrent = limits.concurrent
        self.under_way = 0

    def changed(self, limits: KeyLimits) -> "_Account":
        """The same account with other limits; exchanges under way go on counting."""
        self.requests = _bucket(self.requests, limits.requests_per_minute)
        self.tokens = _bucket(self.tokens, limits.tokens_per_minute)
        self.concurrent = limits.concurrent
        return self

    def admit(self, input_estimate: int, now: float) -> Permit:
        requests, tokens, reserved = self.requests, self.tokens, 0
        tick = to_ticks(now)
        request_wait = token_wait = 0
        if requests is not None:
            request_wait = requests.try_take(1, tick)
        if tokens is not None:
            # At least one, so that a bucket in debt admits nothing; at most all that it can ever hold.
            reserved = min(max(input_estimate, 1), tokens.capacity)
            token_wait = tokens.try_take(reserved, tick)
        crowded = self.concurrent is not None and self.under_way >= self.concurrent
        if request_wait or token_wait or crowded:
            # A refusal costs nothing.
            if requests is not None and not request_wait:
                requests.give_back(1)
            if tokens is not None and not token_wait:
                tokens.give_back(reserved)
            if request_wait or token_wait:
                raise self._bucket_refusal(request_wait, token_wait, reserved, tick)
            raise self._concurrent_refusal()
        self.under_way += 1
        return Permit(self, reserved)

    def headers(self, tick: int) -> Headers:
        headers: Headers = []
        if self.requests is not None:
            headers += rate_limit_headers("requests", self.requests, tick)
        if self.tokens is not None:
            headers += rate_limit_headers("tokens", self.tokens, tick)
        return headers

    def _bucket_refusal(self, request_wait: int, token_wait: int, needed: int, tick: int) -> GatewayError:
        """The limit that takes longer to have room again is the one to name."""
        seconds = -(-max(request_wait, token_wait) // TICKS)
        if self.tokens is not None and token_wait > request_wait:
            left = max(self.tokens.level(tick), 0)
            what = (
                f"has {left} tokens left of its limit of {self.tokens.capacity} a minute, and this request needs "
                f"about {needed}"
            )
            return self._refusal("tokens_per_minute", f"{what}. Try again in {seconds} s", seconds)
        limit = 0 if self.requests is None else self.requests.capacity
        what = f"has used up its limit of {limit} requests a minute"
        return self._refusal("requests_per_minute", f"{what}. Try again in {seconds} s", seconds)

    def _concurrent_refusal(self) -> GatewayError:
        what = f"has {self.under_way} requests under way, and its limit is {self.concurrent} at once"
        return self._refusal("concurrent", f"{what}. Try again when one of them has ended", 1)

    def _refusal(self, limit: str, what: str, seconds: int) -> GatewayError:
        return GatewayError(
            "rate_limit_exceeded",
            f"The key {self.name!r} {what}. This is the key's own limit, not a lack of capacity; "
            f"the server's owner can raise `{limit}` of the key.",
            retry_after=min(seconds, _LONGEST_WAIT),
            extras={"limit": limit},
        )


def _bucket(before: Bucket | None, capacity: int | None) -> Bucket | None:
    """The bucket of a limit: the one there was if it has the size, else a full one."""
    if capacity is None:
        return None
    return before if before is not None and before.capacity == capacity else Bucket(capacity)
