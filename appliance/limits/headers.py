"""What is left of a key's limits, as the headers that OpenAI sends and its clients read."""

from collections.abc import Sequence

from appliance.domain.http import Headers
from appliance.limits.buckets import TICKS, Bucket


class Shown:
    """The headers of one limit a minute: of a key's, of a model's, or of whichever of both has less left."""

    __slots__ = ("_buckets", "_full", "_names")

    def __init__(self, name: str, buckets: Sequence[Bucket]) -> None:
        """`name` is "requests" or "tokens"; where none of the buckets has less than the first, it is shown."""
        self._buckets = buckets
        self._names = [f"x-ratelimit-{what}-{name}" for what in ("limit", "remaining", "reset")]
        smallest = min(bucket.capacity for bucket in buckets)
        self._full = self._told(smallest, smallest, 0)

    def at(self, tick: int) -> Headers:
        """Limit, remainder and time until full. Nobody changes the list: a full bucket, as most are, has it ready."""
        for bucket in self._buckets:
            if bucket.full_at > tick * bucket.capacity:
                break
        else:
            return self._full
        least = min(self._buckets, key=lambda bucket: bucket.standing(tick)[0])
        return self._told(least.capacity, *least.standing(tick))

    def _told(self, limit: int, left: int, wait: int) -> Headers:
        return list(zip(self._names, (str(limit), str(left), duration(wait)), strict=True))


def duration(ticks: int) -> str:
    """Ticks as OpenAI writes a time, to the millisecond and rounded up: `0s`, `120ms`, `1.5s`, `6m0s`, `1h0m0s`."""
    milliseconds = -(-ticks // (TICKS // 1000))
    if milliseconds < 60_000:
        return f"{milliseconds}ms" if 0 < milliseconds < 1000 else f"{milliseconds / 1000:g}s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest / 1000:g}s" if hours else f"{minutes}m{rest / 1000:g}s"
