"""What is left of a key's limits, as the headers that OpenAI sends and its clients read."""

from collections.abc import Mapping, Sequence

from appliance.domain.http import Headers, Ready
from appliance.limits.buckets import TICKS, Bucket


class Shown:
    """The headers for a key and a model: of each limit a minute the key's bucket or the model's, whichever has less."""

    __slots__ = ("_buckets", "_full", "_limits")

    def __init__(self, limits: Mapping[str, Sequence[Bucket]]) -> None:
        """The buckets of each limit, "requests" or "tokens"; where none has less than the first, that one is shown."""
        self._limits = {_names(name): buckets for name, buckets in limits.items() if buckets}
        self._buckets = [bucket for buckets in self._limits.values() for bucket in buckets]
        full: Headers = []
        for names, buckets in self._limits.items():
            smallest = min(bucket.capacity for bucket in buckets)
            full += _told(names, smallest, smallest, 0)
        self._full = Ready(full)

    def at(self, tick: int) -> Ready:
        """Limits, remainders, times until full."""
        for bucket in self._buckets:
            if bucket.full_at > tick * bucket.capacity:
                break
        else:
            return self._full  # as most are
        headers: Headers = []
        for names, buckets in self._limits.items():
            least = min(buckets, key=lambda bucket: bucket.standing(tick)[0])
            headers += _told(names, least.capacity, *least.standing(tick))
        return Ready(headers)


def _names(name: str) -> tuple[str, ...]:
    return tuple(f"x-ratelimit-{what}-{name}" for what in ("limit", "remaining", "reset"))


def _told(names: Sequence[str], limit: int, left: int, wait: int) -> Headers:
    return list(zip(names, (str(limit), str(left), duration(wait)), strict=True))


def duration(ticks: int) -> str:
    """Ticks as OpenAI writes a time, to the millisecond and rounded up: `0s`, `120ms`, `1.5s`, `6m0s`, `1h0m0s`."""
    milliseconds = -(-ticks // (TICKS // 1000))
    if milliseconds < 60_000:
        return f"{milliseconds}ms" if 0 < milliseconds < 1000 else f"{milliseconds / 1000:g}s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest / 1000:g}s" if hours else f"{minutes}m{rest / 1000:g}s"
