"""Numbers in words: short, and with their unit; and texts as sentences."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
NONE = "\u2013"  # an en dash


def size(count: float | None) -> str:
    """Bytes: 41.2 GiB."""
    if count is None or count != count:  # noqa: PLR0124 - nothing else is unequal to itself
        return NONE
    number, unit = float(count), 0
    while abs(number) >= 1024 and unit < len(_UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:.0f} {_UNITS[unit]}" if unit < 2 or number >= 100 else f"{number:.1f} {_UNITS[unit]}"


def span(seconds: float | None) -> str:
    """Seconds: 85 ms, 3.2 s, 5 min, 2 h 10 min, 3 d 4 h."""
    if seconds is None:
        return NONE
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    whole = int(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def ago(seconds: float) -> str:
    """How long ago, in steps of a minute: now, 5 min ago, 3 d 4 h ago."""
    if seconds < _MINUTE:
        return "now"
    return "1 min ago" if seconds < 2 * _MINUTE else f"{span(seconds)} ago"


def rate(number: float | None) -> str:
    """Something a second: 0, 0.4, 12, 4,312."""
    if number is None:
        return NONE
    return f"{number:,.0f}" if number >= 10 or number == 0 else f"{number:.1f}"


def count(number: float | None) -> str:
    """How many: 1,234; 5.6 M."""
    if number is None:
        return NONE
    return f"{number / 1e6:.1f} M" if number >= 1e6 else f"{number:,.0f}"


def sentence(text: str) -> str:
    """A text with a capital at its beginning and a stop at its end."""
    stop = "" if text.endswith((".", "?", "!")) else "."
    return f"{text[:1].upper()}{text[1:]}{stop}"
