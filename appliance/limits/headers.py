"""What is left of a key's limits, as the headers that OpenAI sends and its clients read."""

from appliance.domain.http import Headers
from appliance.limits.buckets import TICKS, Bucket

_NAMES = {
    name: tuple(f"x-ratelimit-{what}-{name}" for what in ("limit", "remaining", "reset"))
    for name in ("requests", "tokens")
}


def rate_limit_headers(name: str, bucket: Bucket, tick: int) -> Headers:
    """Limit, remainder and time until full of one bucket; `name` is "requests" or "tokens"."""
    limit, remaining, reset = _NAMES[name]
    left, wait = bucket.standing(tick)
    return [(limit, str(bucket.capacity)), (remaining, str(left)), (reset, duration(wait) if wait else "0s")]


def duration(ticks: int) -> str:
    """Ticks as OpenAI writes a time, to the millisecond and rounded up: `0s`, `120ms`, `1.5s`, `6m0s`, `1h0m0s`."""
    milliseconds = -(-ticks // (TICKS // 1000))
    if milliseconds < 60_000:
        return f"{milliseconds}ms" if 0 < milliseconds < 1000 else f"{milliseconds / 1000:g}s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest / 1000:g}s" if hours else f"{minutes}m{rest / 1000:g}s"
