"""Log lines: JSON for machines, text for a terminal; one canonical line per exchange.

Nothing here may raise into the request path: a sink that breaks is counted and forgotten. Writes are synchronous, so
whoever reads our standard error through a pipe has to keep reading.
"""

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, TextIO

from appliance.domain.calls import Usage
from appliance.domain.secret import Secret
from appliance.domain.status import ReplicaState, ReplicaStatus

_EXCHANGES = logging.getLogger("appliance.exchange")
_REPLICAS = logging.getLogger("appliance.replica")
_MASK = "[secret]"
_SHORTEST_SECRET = 6  # characters; masking shorter ones would garble the log and hide nothing


@dataclass(frozen=True, slots=True)
class ExchangeRecord:
    """Everything that is told about one exchange; never a prompt, an answer or a key.

    Attributes:
        outcome: "ok", "error" (ours), "backend_error" or "client_gone".
        status: what the client was sent; 499 when it left before.
        ttft_s: seconds to the first content of a stream, else None.
        duration_s: seconds in all.
        bytes_out: body bytes to the client.
    """

    request_id: str
    key: str
    model: str
    operation: str
    target: str
    engine: str
    status: int
    outcome: str
    error_code: str
    stream: bool
    usage: Usage
    ttft_s: float | None
    duration_s: float
    bytes_out: int
    peer: str


def log_exchange(record: ExchangeRecord) -> None:
    """The canonical line."""
    fields = asdict(record)
    usage = fields.pop("usage")
    fields |= {f"tokens_{name}": value for name, value in usage.items() if name != "estimated"}
    fields["tokens_estimated"] = usage["estimated"]
    fields["duration_s"] = round(record.duration_s, 6)
    fields["ttft_s"] = None if record.ttft_s is None else round(record.ttft_s, 6)
    _EXCHANGES.info("exchange", extra={"fields": fields})


def log_replica(before: ReplicaStatus | None, after: ReplicaStatus) -> None:
    """One line for each change of a replica's state, with its reason; a watcher of the fleet table."""
    if before is None or before.state is after.state:
        return
    level = logging.WARNING if after.state is ReplicaState.BACKOFF else logging.INFO
    fields = {"replica": after.replica, "state": str(after.state), "was": str(before.state), "pid": after.pid}
    _REPLICAS.log(level, "replica", extra={"fields": fields | {"reason": after.reason, "restarts": after.restarts}})


class Redactor:
    """Masks known secrets in rendered text."""

    def __init__(self, secrets: Sequence[Secret] = ()) -> None:
        known = {secret.reveal for secret in secrets if len(secret.reveal) >= _SHORTEST_SECRET}
        found = known | {json.dumps(text)[1:-1] for text in known}  # as a JSON line would show it
        self._secrets = sorted(found, key=len, reverse=True)  # a secret may be part of a longer one

    def __call__(self, text: str) -> str:
        """The text with every known secret masked."""
        for secret in self._secrets:
            text = text.replace(secret, _MASK)
        return text


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

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


class TextFormatter(logging.Formatter):
    """One line for a person; control characters of foreign text are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        fields = getattr(record, "fields", {})
        told = " ".join(f"{name}={value}" for name, value in fields.items() if value or isinstance(value, list))
        text = f"{time} {record.levelname.lower():7} {record.getMessage()} {told}".rstrip()
        text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class Sink(logging.Handler):
    """Writes rendered, masked lines to a text stream.

    Attributes:
        dropped: lines that the stream did not take.
    """

    def __init__(self, stream: TextIO, redact: Redactor) -> None:
        super().__init__()
        self.dropped = 0
        self._stream = stream
        self._redact = redact

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; a broken stream is counted, never raised."""
        try:
            self._stream.write(self._redact(self.format(record)) + "\n")
            self._stream.flush()
        except Exception:  # noqa: BLE001 - a log line must never end what it tells about
            self.dropped += 1


def configure(
    log_format: str, stream: TextIO | None = None, *, secrets: Sequence[Secret] = (), level: int = logging.INFO
) -> Sink:
    """Send every log line of the process to one sink.

    Args:
        log_format: "json", "text", or "auto": text on a terminal.
        stream: standard error when absent.
        secrets: masked wherever they appear.
        level: the least level that is written.
    """
    stream = stream or sys.stderr
    text = log_format == "text" or (log_format == "auto" and stream.isatty())
    sink = Sink(stream, Redactor(secrets))
    sink.setFormatter(TextFormatter() if text else JsonFormatter())
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, Sink)]:
        root.removeHandler(old)
    root.addHandler(sink)
    root.setLevel(level)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every URL that it asks
    return sink
