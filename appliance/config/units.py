"""Durations, sizes and dates as people write them."""

import re
from datetime import UTC, date, datetime
from typing import Self

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class Seconds(float):
    """A duration; in TOML a string such as "250ms", "30s", "15m", "1h", or a number of seconds."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a setting.

        Raises:
            ValueError: it is not a duration; the text gives an example.
        """
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return cls(value)
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", value) if isinstance(value, str) else None
        if match is None:
            raise ValueError('expected a duration such as "30s", "15m" or "1h"')
        return cls(float(match[1]) * _SECONDS[match[2]])


class Size(int):
    """A number of bytes; in TOML a string such as "18GiB", "500MB", or a plain number."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a setting.

        Raises:
            ValueError: it is not a size; the text gives an example.
        """
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(value)
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]i?B|B|)", value) if isinstance(value, str) else None
        if match is None or match[2] not in _BYTES:
            raise ValueError('expected a size such as "18GiB" or "500MB"')
        return cls(float(match[1]) * _BYTES[match[2]])


class Moment(float):
    """A point in time as seconds since 1970; in TOML a date, which means its beginning in UTC, or a date and time."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a setting.

        Raises:
            ValueError: it is neither a date nor a date and time with a time zone; the text gives an example.
        """
        try:
            read = datetime.fromisoformat(value) if isinstance(value, str) else value
        except ValueError:
            read = None
        if isinstance(read, date) and not isinstance(read, datetime):
            return cls(datetime(read.year, read.month, read.day, tzinfo=UTC).timestamp())
        if isinstance(read, datetime) and isinstance(value, str) and len(value) == len("2027-01-31"):
            return cls(read.replace(tzinfo=UTC).timestamp())
        if isinstance(read, datetime) and read.tzinfo is not None:
            return cls(read.timestamp())
        raise ValueError("expected a date such as 2027-01-31 or 2027-01-31T18:00:00Z")
