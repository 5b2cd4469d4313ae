"""How a log line looks: JSON for machines, text for a terminal, secrets masked in both."""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from appliance.domain.secret import Secret
from appliance.observe.log import ExchangeRecord, exchange_fields, exchange_line

_MASK = "[secret]"
_SHORTEST_SECRET = 6  # characters; masking shorter ones would garble the log and hide nothing
_NS = 1_000_000_000

_PRIORITIES = ((logging.CRITICAL, "<2>"), (logging.ERROR, "<3>"), (logging.WARNING, "<4>"), (logging.INFO, "<6>"))
Told = tuple[int, ExchangeRecord]  # Unix time in nanoseconds, and what happened


class Redactor:
    """Masks known secrets in rendered text."""

    def __init__(self, secrets: Sequence[Secret] = ()) -> None:
        self._secrets: list[str] = []
        self.also(secrets)

    def also(self, secrets: Sequence[Secret]) -> None:
        """From now on these too; what was secret once stays so."""
        known = {secret.reveal for secret in secrets if len(secret.reveal) >= _SHORTEST_SECRET}
        found = known | {json.dumps(text)[1:-1] for text in known}  # as a JSON line would show it
        self._secrets = sorted(
            found | set(self._secrets), key=len, reverse=True
        )  # a secret may be part of a longer one

    def __call__(self, text: str) -> str:
        """The text with every known secret masked; whole lines only, or one could hide across a border."""
        for secret in self._secrets:
            text = text.replace(secret, _MASK)
        return text


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self) -> None:
        super().__init__()
        self._encode = msgspec.json.Encoder().encode_lines

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True, default=str)

    def exchanges(self, told: Iterable[Told]) -> str:
        """The lines of many exchanges, each with its end; ten times as fast as one by one."""
        second, date, lines = -1, "", []
        for now, record in told:
            if now // _NS != second:  # a date costs more than the rest of the line
                second = now // _NS
                date = datetime.fromtimestamp(second, UTC).isoformat()[:19]
            lines.append(exchange_line(record, f"{date}.{now % _NS // 1_000_000:03}+00:00"))
        try:
            text = self._encode(lines).decode()
        except UnicodeEncodeError:  # half a surrogate pair
            text = "\ud800"
        # What is not ASCII may move a terminal's cursor or turn its text around, so it is escaped.
        return text if text.isascii() else "".join(json.dumps(msgspec.structs.asdict(line)) + "\n" for line in lines)


class TextFormatter(logging.Formatter):
    """One line for a person; control characters of foreign text are escaped.

    Args:
        timed: it says when; not where whoever gets it does so.
    """

    def __init__(self, *, timed: bool = True) -> None:
        super().__init__()
        self._timed = timed

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields = getattr(record, "fields", {})
        created = record.created if self._timed else None
        text = _for_people(created, record.levelname.lower(), record.getMessage(), fields)
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text

    def exchanges(self, told: Iterable[Told]) -> str:
        """The lines of many exchanges, each with its end."""
        return "".join(
            _for_people(now / _NS if self._timed else None, "info", "exchange", _fields_for_people(record)) + "\n"
            for now, record in told
        )


class JournalFormatter(logging.Formatter):
    """Lines for systemd's journal: each begins with its priority, `<6>`, which the journal takes away and keeps.

    Args:
        lines: what the rest looks like.
    """

    def __init__(self, lines: "JsonFormatter | TextFormatter") -> None:
        super().__init__()
        self._lines = lines

    def format(self, record: logging.LogRecord) -> str:
        """The line, or lines where there is a traceback."""
        mark = next((mark for level, mark in _PRIORITIES if record.levelno >= level), "<7>")
        return mark + self._lines.format(record).replace("\n", f"\n{mark}")

    def exchanges(self, told: Iterable[Told]) -> str:
        """The lines of many exchanges, each with its end."""
        return "".join(f"<6>{line}\n" for line in self._lines.exchanges(told).splitlines())


def _fields_for_people(record: ExchangeRecord) -> dict[str, Any]:
    """The fields; a trace that only repeats the request's id says nothing."""
    fields = exchange_fields(record)
    if record.request_id == f"req_{record.trace_id}":
        del fields["trace_id"]
    return fields


def _for_people(created: float | None, level: str, message: str, fields: Mapping[str, Any]) -> str:
    time = "" if created is None else datetime.fromtimestamp(created).astimezone().strftime("%H:%M:%S ")
    told = " ".join(f"{name}={value}" for name, value in fields.items() if value or isinstance(value, list))
    text = f"{time}{level:7} {message} {told}".rstrip()
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
