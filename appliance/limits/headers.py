"""What is left of a key's limits, as the headers that OpenAI sends and its clients read."""

from appliance.domain.http import Headers
from appliance.limits.buckets import TICKS

_NAMES = {
    name: tuple(f"x-ratelimit-{what}-{name}" for what in ("limit", "remaining", "reset"))
    for name in ("requests", "tokens")
}


def rate_limit_headers(name: str, limit: str, left: int, wait: int) -> Headers:
    """Limit, remainder and time until full of one bucket.

    Args:
        name: "requests" or "tokens".
        limit: of a minute, as text.
        left: what it holds.
        wait: ticks until it is full.
    """
    of_limit, of_remaining, of_reset = _NAMES[name]
    return [(of_limit, limit), (of_remaining, str(left)), (of_reset, duration(wait) if wait else "0s")]


def duration(ticks: int) -> str:
    """Ticks as OpenAI writes a time, to the millisecond and rounded up: `0s`, `120ms`, `1.5s`, `6m0s`, `1h0m0s`."""
    milliseconds = -(-ticks // (TICKS // 1000))
    if milliseconds < 60_000:
        return f"{milliseconds}ms" if 0 < milliseconds < 1000 else f"{milliseconds / 1000:g}s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest / 1000:g}s" if hours else f"{minutes}m{rest / 1000:g}s"
