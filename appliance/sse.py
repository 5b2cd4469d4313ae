"""Server-sent events as bytes: cut a stream into whole events, and nothing more.

Events are cut and never rewritten, so what a client gets is byte for byte what the engine sent. What carries no data
is dropped: comments (keep-alives) are between the engine and us, and an event without data is one that no client may
dispatch, yet some SDKs try to parse it.
"""

import re

from appliance.errors import ProtocolViolation

DONE = b"[DONE]"
_LINE_END = re.compile(rb"\r\n|\r|\n")
_EMPTY_LINES = re.compile(rb"[\r\n]*")
# A blank line, found from its second-last line end. `\n\r` waits for the next byte, which decides whether the line end
# is `\r` or `\r\n`; `\r\r` does not wait, because a `\n` that follows is an empty line of its own and skipped.
_BLANK_LINE = re.compile(rb"\r\r|\n(?:\n|\r\n|\r(?=[^\n]))")
_OVERLAP = 3  # bytes of a blank line that an earlier read may hold


class Splitter:
    """Bytes in, whole events out.

    Args:
        limit: most bytes of one event, its blank line included.
    """

    def __init__(self, limit: int = 2**20) -> None:
        self._limit = limit
        self._buffer = bytearray()  # starts where an event starts
        self._searched = 0  # no blank line starts before this offset

    @property
    def pending(self) -> bool:
        """Bytes of an unfinished event are left. Blank lines alone are not an event."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Take what arrived and return the events that are now complete, each with its blank line.

        Raises:
            ProtocolViolation: an event is longer than the limit.
        """
        buffer = self._buffer
        buffer += data
        events: list[bytes] = []
        start = self._event_start(0)
        while found := _BLANK_LINE.search(buffer, max(start, self._searched)):
            event = bytes(buffer[start : found.end()])
            self._refuse_over_limit(len(event))
            if data_of(event):
                events.append(event)
            start = self._event_start(found.end())
        del buffer[:start]
        self._searched = max(0, len(buffer) - _OVERLAP)
        self._refuse_over_limit(len(buffer))
        return events

    def _event_start(self, offset: int) -> int:
        match = _EMPTY_LINES.match(self._buffer, offset)
        return match.end() if match else offset

    def _refuse_over_limit(self, size: int) -> None:
        if size > self._limit:
            raise ProtocolViolation(f"an event of the stream is longer than {self._limit} bytes")


def data_of(event: bytes) -> bytes:
    """The event's data lines, joined with newlines; empty when it has none."""
    values = []
    for line in _LINE_END.split(event):
        name, _, value = line.partition(b":")
        if name == b"data":
            values.append(value.removeprefix(b" "))
    return b"\n".join(values)


def is_done(event: bytes) -> bool:
    """The event is the closing mark of an OpenAI stream."""
    return DONE in event and data_of(event).strip() == DONE


def event(data: bytes) -> bytes:
    """One event that carries these bytes; several lines become several data lines."""
    return b"".join(b"data: " + line + b"\n" for line in _LINE_END.split(data)) + b"\n"
