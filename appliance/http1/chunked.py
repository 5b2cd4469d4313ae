"""A client's chunked body (RFC 9112 7.1), read strictly and with every part of it bounded."""

import re

from appliance.errors import GatewayError
from appliance.http1.incoming import FIELD_NAME, FIELD_VALUE

_MOST_EXTENSION = 256  # bytes of extensions on one chunk
_MOST_EXTENSIONS = 16 * 1024  # bytes of extensions in one body
_MOST_TRAILERS = 32
_MOST_TRAILER_BYTES = 8 * 1024
_LARGE = 4096  # bytes: pieces from here on are kept as they are; smaller ones are gathered, since each costs an object
_LONGEST_SIZE_LINE = 16 + _MOST_EXTENSION + 2
# A body of one-byte chunks has 5 bytes of framing for each of its own, which is legal. Zeros in front of every size and
# extensions make it worse; past this they only cost us time.
_FRAMING_PER_BYTE = 16
_FRAMING_FREE = 32 * 1024

_QUOTED = r'"(?:[ \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\x20-\x7e\x80-\xff])*+"'
_SIZE_LINE = re.compile(
    rf"([0-9A-Fa-f]{{1,16}}+)((?:;{FIELD_NAME}(?:=(?:{FIELD_NAME}|{_QUOTED}))?+)*+)\r\n".encode("latin-1")
)
_SIZE_LINE_BEGUN = re.compile(rb"[0-9A-Fa-f]{1,16}+(?:;[\x20-\x7e\x80-\xff]*+)?+\r?")
_TRAILER = re.compile(rf"({FIELD_NAME}):{FIELD_VALUE}\r\n".encode("latin-1"))
# What decides on framing, routing or rights must be known before the body is read (RFC 9110 6.5.1).
_FORBIDDEN_TRAILERS = frozenset({b"content-length", b"transfer-encoding", b"host", b"authorization"})


class ChunkedBody:
    """One body. Feed it the connection's buffer, delete what it consumed, and `take()` the bytes.

    Extensions and trailers are checked and dropped. After an error the decoder is of no use.

    Attributes:
        complete: the last chunk and the trailers have been read.
    """

    def __init__(self, limit: int) -> None:
        """`limit` is the most bytes of body, framing not counted."""
        self.complete = False
        self._limit = limit
        self._pieces: list[bytes | bytearray] = []
        self._gathered = bytearray()
        self._left = 0  # bytes of the current chunk that have not arrived
        self._data_end_due = False  # the CRLF after a chunk's data
        self._last_seen = False  # the chunk of size 0: trailers follow
        self._size = 0  # bytes of body announced so far
        self._framing = 0
        self._extensions = 0
        self._trailers = 0
        self._trailer_bytes = 0

    def take(self) -> bytes:
        """The decoded bytes since the last call: the whole body when called once, at the end."""
        pieces, self._pieces = [*self._pieces, self._gathered], []
        self._gathered = bytearray()
        if len(pieces) == 2 and not pieces[1]:
            return bytes(pieces[0])  # no copy when it is bytes
        return b"".join(pieces)

    def feed(self, buffer: bytearray) -> int:
        """Read from the start of the buffer.

        Args:
            buffer: what arrived and was not consumed yet.

        Returns:
            Bytes consumed, for the caller to delete. Never more than up to the end of this message; a part of a line
            is left for the next call.

        Raises:
            GatewayError: `malformed_request`, or `request_too_large` past the limit.
        """
        at, end = 0, len(buffer)
        with memoryview(buffer) as view:
            while at < end and not self.complete:
                if self._left:
                    consumed = min(self._left, end - at)
                    self._left -= consumed
                    self._keep(view[at : at + consumed])
                elif self._data_end_due:
                    consumed = self._read_data_end(buffer, at, end)
                elif self._last_seen:
                    consumed = self._read_trailer(buffer, at)
                else:
                    consumed = self._read_size(buffer, at, end)
                if not consumed:
                    break
                at += consumed
        return at

    def _keep(self, piece: memoryview) -> None:
        if len(piece) < _LARGE:
            self._gathered += piece
            return
        if self._gathered:
            self._pieces.append(self._gathered)
            self._gathered = bytearray()
        self._pieces.append(bytes(piece))

    def _read_size(self, buffer: bytearray, at: int, end: int) -> int:
        match = _SIZE_LINE.match(buffer, at)
        if match is None:
            if end - at < _LONGEST_SIZE_LINE and _SIZE_LINE_BEGUN.fullmatch(buffer, at):
                return 0
            raise _malformed("A chunk does not begin with its size in hexadecimal and CRLF.")
        digits, extension = match.groups()
        self._left = int(digits, 16)
        self._size += self._left
        if self._size > self._limit:
            raise GatewayError("request_too_large", f"The body is larger than {self._limit} bytes; send less.")
        if extension:
            self._extensions += len(extension)
            if len(extension) > _MOST_EXTENSION or self._extensions > _MOST_EXTENSIONS:
                raise _malformed("The chunk extensions are too large.")
        consumed = match.end() - at
        self._framing += consumed + 2
        if self._framing > _FRAMING_FREE + _FRAMING_PER_BYTE * self._size:
            raise _malformed("The body is nearly all chunk sizes.")
        self._data_end_due = self._left > 0
        self._last_seen = not self._left
        return consumed

    def _read_data_end(self, buffer: bytearray, at: int, end: int) -> int:
        if buffer.startswith(b"\r\n", at):
            self._data_end_due = False
            return 2
        if end - at == 1 and buffer.endswith(b"\r"):
            return 0
        raise _malformed("A chunk is longer than its size says, or no CRLF follows it.")

    def _read_trailer(self, buffer: bytearray, at: int) -> int:
        rest = bytes(buffer[at : at + _MOST_TRAILER_BYTES - self._trailer_bytes + 2])
        if rest.startswith(b"\r\n"):
            self.complete = True
            return 2
        if rest == b"\r":  # half of the empty line, or of a refusal
            return 0
        size = rest.find(b"\n") + 1
        if self._trailer_bytes + (size or len(rest)) > _MOST_TRAILER_BYTES:
            raise _malformed("The trailers after the body are too large.")
        if not size:
            return 0
        match = _TRAILER.match(rest)
        if match is None:
            raise _malformed("A trailer after the body is not a well-formed header line.")
        if match[1].lower() in _FORBIDDEN_TRAILERS:
            raise _malformed("A trailer after the body is one that must stand before it.")
        self._trailers += 1
        self._trailer_bytes += size
        if self._trailers > _MOST_TRAILERS:
            raise _malformed("There are too many trailers after the body.")
        return size


def _malformed(what: str) -> GatewayError:
    """`what` is a sentence."""
    return GatewayError(
        "malformed_request",
        f"{what} The fault is in the client or in a proxy between it and us; it must send the body in well-formed "
        "chunks or with a Content-Length.",
    )
