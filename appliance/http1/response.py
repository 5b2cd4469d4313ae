"""A reply, parsed as its bytes arrive."""

import re
from dataclasses import dataclass

import httptools

from appliance.domain.http import Headers
from appliance.errors import ProtocolViolation

HEAD_LIMIT = 64 * 1024  # bytes of a head, interim replies included; also of anything else that is not body
HEADER_COUNT_LIMIT = 256
_LENGTH = re.compile(rb"\r\n(?i:content-length):[ \t]*([0-9]+)\r\n")
_MOST_DIGITS = 15  # of a length that is read here
_LONGEST_PATTERN = 2048  # bytes of a head that is remembered; every connection has its own
_LONGEST_REPEATED = 64 * 1024  # bytes of a reply that is compared with it: they are copied first
_VERSIONS = frozenset({"1.0", "1.1"})
# The names that replies use, in both usual spellings: a look-up is cheaper than decoding and lowering.
_KNOWN = {
    spelling.encode(): spelling.lower()
    for name in (
        *("Cache-Control", "Connection", "Content-Length", "Content-Type", "Date", "Keep-Alive", "Retry-After"),
        *("Server", "Transfer-Encoding", "Vary", "X-Request-Id", "Access-Control-Allow-Origin"),
    )
    for spelling in (name, name.lower())
}


@dataclass(slots=True)  # not frozen: that would triple the cost of making one
class Head:
    """The status and headers of a reply; names in lower case, in order of arrival. Nobody changes one."""

    status: int
    headers: Headers


@dataclass(slots=True)
class _Pattern:
    """A whole reply that was read: another one with this head needs no parser, whatever its length and body are.

    What llhttp and we make of a head depends on its bytes alone, since between two replies nothing is carried over; and
    of the length only where the body ends. So that has to be where the bytes end.
    """

    before: bytes  # the length's digits
    digits: bytes
    after: bytes
    head: Head

    def body_of(self, data: bytes) -> tuple[Head, bytes] | None:
        """The head and the body of one whole reply; None when the bytes are anything else."""
        start = len(self.before)
        if not data.startswith(self.before) or (end := data.find(b"\r", start, start + _MOST_DIGITS + 1)) < 0:
            return None
        digits = data[start:end]
        if not (digits.isdigit() and data.startswith(self.after, end)):
            return None
        body = data[end + len(self.after) :]
        if len(body) != int(digits):
            return None
        if digits != self.digits:
            text = digits.decode()
            headers = [(name, text if name == "content-length" else value) for name, value in self.head.headers]
            self.digits, self.head = digits, Head(self.head.status, headers)
        return self.head, body


class _RefusedError(Exception):
    """Raised inside a callback, to stop the parser with words of ours."""


class ResponseParser:
    """One reply after another. Feed it bytes; look at `head`, `take()` and `complete` after each piece.

    Attributes:
        head: None until the final head is whole; interim (1xx) replies are skipped.
        complete: the reply ended the way its framing says.
        started: at least one byte was fed.
        on_body: what httptools calls with each piece of the body; a list's own method, so that a chunk costs no frame.
    """

    def __init__(self) -> None:
        self._raw: list[tuple[bytes, bytes]] = []  # headers as they came, interim ones included
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append
        self._pattern: _Pattern | None = None
        self._begin()
        self._parser = httptools.HttpResponseParser(self)

    def _begin(self) -> None:
        self.head: Head | None = None
        self.complete = False
        self.started = False
        self._interim = 0  # how many of the raw headers belong to interim replies
        self._ends_at_eof = False
        self._keep_alive = False
        self._trailing = False
        self._unframed = 0  # bytes fed since the last visible progress
        self._feeding = 0  # bytes being fed right now, unless they have brought progress

    def restart(self) -> None:
        """Forget the reply, for the next one on the same connection."""
        if not self.keep_alive:  # llhttp is somewhere inside a message, or has stopped
            self._parser = httptools.HttpResponseParser(self)
        self._raw.clear()
        self._pieces.clear()
        self._begin()

    @property
    def keep_alive(self) -> bool:
        """The reply is complete, nothing followed it, and the server lets the connection be used again."""
        return self.complete and self._keep_alive and not self._trailing

    def take(self) -> bytes:
        """The body bytes that arrived since the last call; b"" when there are none."""
        data = b"".join(self._pieces)  # one piece is not copied
        self._pieces.clear()
        return data

    def feed(self, data: bytes | memoryview) -> None:
        """Parse the next bytes; none of them is kept.

        Raises:
            ProtocolViolation: they are not a reply that we accept; the parser is of no use afterwards.
        """
        if self.complete:
            # llhttp skips blank lines between messages, so however the bytes were cut they do not count as trailing.
            self._trailing = self._trailing or bool(bytes(data).strip(b"\r\n"))
            return
        self._feeding = size = len(data)
        begins = not self.started
        if begins:
            if self._pattern is not None and size <= _LONGEST_REPEATED and self._repeats(self._pattern, bytes(data)):
                return
            self.started = size > 0
        pieces = len(self._pieces)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._stopped(error)
        progress = len(self._pieces) > pieces or self._ends_at_eof
        self._unframed = 0 if progress else self._unframed + self._feeding
        # Heads, chunk extensions and trailers are buffered or skipped by llhttp without any limit of its own.
        if self._unframed > HEAD_LIMIT:
            raise ProtocolViolation(f"not an HTTP reply: more than {HEAD_LIMIT} bytes of head")
        if begins:
            self._remember(data)

    def _repeats(self, pattern: _Pattern, data: bytes) -> bool:
        """Whether these bytes are one whole reply like the one before; then that was it."""
        seen = pattern.body_of(data)
        if seen is None:
            return False
        self.head, body = seen
        if body:
            self._pieces.append(body)
        self.started = self.complete = self._keep_alive = True
        return True

    def _remember(self, data: bytes | memoryview) -> None:
        """Keep the head of a reply that came in one piece, if the next one may be like it."""
        head = self.head
        if head is None or head.status != 200 or not self.keep_alive:
            return
        body = sum(map(len, self._pieces))
        if len(data) - body > _LONGEST_PATTERN:
            return
        raw = bytes(data[: len(data) - body])
        found = _LENGTH.findall(raw)
        if raw.endswith(b"\r\n\r\n") and found == [b"%d" % body] and (match := _LENGTH.search(raw)):
            start, end = match.span(1)
            self._pattern = _Pattern(raw[:start], raw[start:end], raw[end:], head)

    def feed_eof(self) -> None:
        """The server closed its side.

        Raises:
            ProtocolViolation: the reply was not complete.
        """
        self._keep_alive = False
        if self.complete:
            return
        if not self._ends_at_eof:
            raise ProtocolViolation("the connection ended inside the reply")
        self.complete = True

    def _stopped(self, error: Exception) -> None:
        if not self.complete:
            raise ProtocolViolation(f"not an HTTP reply: {_words(error)}") from error
        self._trailing = True  # the reply itself was fine; what follows it is not our business

    # What httptools calls, besides `on_body`:

    def on_message_begin(self) -> None:
        """Start of a reply: the final one, an interim one, or one too many, which stops the parser."""
        if self.complete:
            raise _RefusedError("a reply that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or a trailer, which is dropped."""
        if self.head is None:
            self._raw.append((name, value))

    def on_headers_complete(self) -> None:
        """End of a head."""
        status = self._parser.get_status_code()
        if self._parser.get_http_version() not in _VERSIONS:
            raise _RefusedError("not HTTP/1")
        if status == 101 or status < 100:
            raise _RefusedError(f"status {status} was not asked for")
        raw = self._raw
        # A head of this size needs counting only when that much was fed since the start.
        if len(raw) > HEADER_COUNT_LIMIT or (self._unframed + self._feeding > HEAD_LIMIT and _size(raw) > HEAD_LIMIT):
            raise _RefusedError("the head is too large")
        if status < 200:
            self._interim = len(raw)
            return
        headers = [
            (_KNOWN.get(name) or name.decode("latin-1").lower(), value.decode("latin-1"))
            for name, value in (raw[self._interim :] if self._interim else raw)
        ]
        names = dict(headers)
        chunked = "transfer-encoding" in names
        if chunked and [value.lower() for name, value in headers if name == "transfer-encoding"] != ["chunked"]:
            raise _RefusedError("an unknown transfer-encoding")
        self._ends_at_eof = not chunked and "content-length" not in names
        self._unframed = self._feeding = 0
        self.head = Head(status, headers)

    def on_message_complete(self) -> None:
        """End of a reply; of an interim one it means nothing."""
        if self.head is not None:
            self._unframed = self._feeding = 0
            self._keep_alive = self._parser.should_keep_alive()
            self.complete = True


def _size(headers: list[tuple[bytes, bytes]]) -> int:
    """Bytes on the wire."""
    return sum(len(name) + len(value) + 4 for name, value in headers)


def _words(error: Exception) -> str:
    """Our own reason when a callback refused, else llhttp's."""
    return str(error.__context__) if isinstance(error.__context__, _RefusedError) else str(error)
