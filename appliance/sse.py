"""Server-sent events as bytes: cut a stream into whole events, and nothing more.

Events are cut and never rewritten, so what a client gets is byte for byte what the engine sent. What carries no data
is dropped: comments (keep-alives) are between the engine and us, and an event without data is one that no client may
dispatch, yet some SDKs try to parse it.

A `Splitter` gives the whole events of a read as one run of bytes, because most runs pass on as they are; `cut` takes a
run apart.
"""

import re

from appliance.errors import ProtocolViolation

DONE = b"[DONE]"
_LINE_END = re.compile(rb"\r\n|\r|\n")
_EMPTY_LINES = re.compile(rb"[\r\n]*")
# A blank line, found from its second-last line end. `\n\r` waits for the next byte, which decides whether the line end
# is `\r` or `\r\n`; `\r\r` does not wait, because a `\n` that follows is an empty line of its own and skipped.
_BLANK_LINE = re.compile(rb"\r\r|\n(?:\n|\r\n|\r(?=[^\n]))")
_BLANK_LINE_OF_A_RUN = re.compile(rb"\r\r|\n(?:\n|\r\n?)")  # nothing can follow the last one
_OVERLAP = 3  # bytes of a blank line that an earlier read may hold


class Splitter:
    """Bytes in, runs of whole events out.

    Args:
        limit: most bytes of one event, its blank line included.
    """

    def __init__(self, limit: int = 2**20) -> None:
        self._limit = limit
        self._buffer = bytearray()  # starts where an event starts
        self._careful = False  # a `\r` was seen: line ends may be any of three
        self._searched = 0  # no blank line starts before this offset; only kept when careful

    @property
    def pending(self) -> bool:
        """Bytes of an unfinished event are left. Blank lines alone are not an event."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> bytes:
        """Take what arrived and return the events that are now complete, as one run; b"" when there is none.

        Raises:
            ProtocolViolation: an event is longer than the limit.
        """
        if self._careful or b"\r" in data:
            self._careful = True
            return self._feed_carefully(data)
        buffer = self._buffer
        if not buffer:
            data = data.lstrip(b"\n")
        end = data.rfind(b"\n\n") + 2
        if end < 2:  # not found
            end = 1 if buffer.endswith(b"\n") and data.startswith(b"\n") else 0
        if not buffer and end == len(data):
            run = data
        elif end:
            run = b"".join((buffer, data[:end]))
            buffer[:] = data[end:]
        else:
            run = b""
            buffer += data
        if len(run) > self._limit:
            self._refuse_over_limit(max(len(piece.lstrip(b"\n")) for piece in run.split(b"\n\n")) + 2)
        self._refuse_over_limit(len(buffer))
        return run

    def _feed_carefully(self, data: bytes) -> bytes:
        buffer = self._buffer
        buffer += data
        start = end = self._event_start(0)
        while found := _BLANK_LINE.search(buffer, max(start, self._searched)):
            end = found.end()
            self._refuse_over_limit(end - start)
            start = self._event_start(end)
        run = bytes(buffer[:end])
        del buffer[:start]
        self._searched = max(0, len(buffer) - _OVERLAP)
        self._refuse_over_limit(len(buffer))
        return run

    def _event_start(self, offset: int) -> int:
        match = _EMPTY_LINES.match(self._buffer, offset)
        return match.end() if match else offset

    def _refuse_over_limit(self, size: int) -> None:
        if size > self._limit:
            raise ProtocolViolation(f"an event of the stream is longer than {self._limit} bytes")


def cut(run: bytes) -> list[bytes]:
    """The events of a run that carry data, each with its blank line."""
    if b"\r" not in run:
        events = [piece.lstrip(b"\n") + b"\n\n" for piece in run.split(b"\n\n")]
    else:
        events = []
        start = 0
        for found in _BLANK_LINE_OF_A_RUN.finditer(run):
            events.append(run[start : found.end()].lstrip(b"\r\n"))
            start = found.end()
    return [event for event in events if event.startswith(b"data: {") or data_of(event)]


def data_of(event: bytes) -> bytes:
    """The event's data lines, joined with newlines; empty when it has none."""
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and b"\r" not in event:
        return event[6:-2]  # as nearly always: one line
    values = []
    for line in _LINE_END.split(event):
        name, _, value = line.partition(b":")
        if name == b"data":
            values.append(value.removeprefix(b" "))
    return b"\n".join(values)


def with_data(one: bytes, data: bytes) -> bytes:
    """The event with other data; its other lines stay, and come first."""
    lines = [line for line in _LINE_END.split(one) if line and line.partition(b":")[0] != b"data"]
    return b"".join(line + b"\n" for line in lines) + event(data)


def is_done(data: bytes) -> bool:
    """The data of an event is the closing mark of an OpenAI stream."""
    return not data.startswith(b"{") and data.strip() == DONE


def event(data: bytes) -> bytes:
    """One event that carries these bytes; several lines become several data lines."""
    return b"".join(b"data: " + line + b"\n" for line in _LINE_END.split(data)) + b"\n"
