"""A reply, parsed as its bytes arrive."""

from dataclasses import dataclass

import httptools

from appliance.domain.http import Headers
from appliance.errors import ProtocolViolation

HEAD_LIMIT = 64 * 1024  # bytes of a head, interim replies included; also of anything else that is not body
HEADER_COUNT_LIMIT = 256


@dataclass(frozen=True, slots=True)
class Head:
    """The status and headers of a reply; names in lower case, in order of arrival."""

    status: int
    headers: Headers


class _RefusedError(Exception):
    """Raised inside a callback, to stop the parser with words of ours."""


class ResponseParser:
    """One reply. Feed it bytes; look at `head`, `take()` and `complete` after each piece.

    Attributes:
        head: None until the final head is whole; interim (1xx) replies are skipped.
        complete: the reply ended the way its framing says.
        started: at least one byte was fed.
    """

    def __init__(self) -> None:
        self.head: Head | None = None
        self.complete = False
        self.started = False
        self._parser = httptools.HttpResponseParser(self)
        self._headers: Headers = []
        self._pieces: list[bytes] = []
        self._ends_at_eof = False
        self._keep_alive = False
        self._trailing = False
        self._head_size = 0  # as told by the headers themselves
        self._unframed = 0  # bytes fed since the last visible progress
        self._progress = False

    @property
    def keep_alive(self) -> bool:
        """The reply is complete, nothing followed it, and the server lets the connection be used again."""
        return self.complete and self._keep_alive and not self._trailing

    def take(self) -> bytes:
        """The body bytes that arrived since the last call; b"" when there are none."""
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def feed(self, data: bytes) -> None:
        """Parse the next bytes.

        Raises:
            ProtocolViolation: they are not a reply that we accept; the parser is of no use afterwards.
        """
        self.started = self.started or bool(data)
        if self.complete:
            # llhttp skips blank lines between messages, so however the bytes were cut they do not count as trailing.
            self._trailing = self._trailing or bool(data.strip(b"\r\n"))
            return
        self._progress = False
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._stopped(error)
        self._bound(len(data))

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

    def _bound(self, size: int) -> None:
        """Heads, chunk extensions and trailers are buffered or skipped by llhttp without any limit of its own."""
        self._unframed = 0 if self._progress or self._ends_at_eof else self._unframed + size
        if self._unframed > HEAD_LIMIT:
            raise ProtocolViolation(f"not an HTTP reply: more than {HEAD_LIMIT} bytes of head")

    # What httptools calls:

    def on_message_begin(self) -> None:
        """Start of a reply: the final one, an interim one, or one too many."""
        self._trailing = self._trailing or self.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or a trailer, which is dropped."""
        if self.complete or self.head is not None:
            return
        self._head_size += len(name) + len(value) + 4
        if self._head_size > HEAD_LIMIT or len(self._headers) >= HEADER_COUNT_LIMIT:
            raise _RefusedError("the head is too large")
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """End of a head."""
        if self.complete:
            return
        status = self._parser.get_status_code()
        if self._parser.get_http_version() not in ("1.0", "1.1"):
            raise _RefusedError("not HTTP/1")
        if status == 101 or status < 100:
            raise _RefusedError(f"status {status} was not asked for")
        if status < 200:
            self._headers = []
            return
        framing = [value.lower() for name, value in self._headers if name == "transfer-encoding"]
        if framing not in ([], ["chunked"]):
            raise _RefusedError("an unknown transfer-encoding")
        sized = any(name == "content-length" for name, _ in self._headers)
        self._ends_at_eof = not framing and not sized
        self._progress = True
        self.head = Head(status, self._headers)

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        if not self.complete:
            self._progress = True
            self._pieces.append(data)

    def on_message_complete(self) -> None:
        """End of a reply; of an interim one it means nothing."""
        if self.head is not None and not self.complete:
            self._keep_alive = self._parser.should_keep_alive()
            self._progress = True
            self.complete = True


def _words(error: Exception) -> str:
    """Our own reason when a callback refused, else llhttp's."""
    return str(error.__context__) if isinstance(error.__context__, _RefusedError) else str(error)
