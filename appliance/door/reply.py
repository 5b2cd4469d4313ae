"""A reply as bytes: status line, headers, framing."""

from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus

from appliance.domain.http import Reply, lines_of

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_NO_BODY = {204, 304}


class Clock:
    """The Date header, written anew once a second."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` is the time in seconds since 1970."""
        self._now = now
        self._second = -1
        self._line = ""

    def line(self) -> str:
        """The header with its line end."""
        second = int(self._now())
        if second != self._second:
            self._second = second
            self._line = f"date: {formatdate(second, usegmt=True)}\r\n"
        return self._line


def render(reply: Reply, *, date: str, keep: bool, http10: bool, head_only: bool) -> bytes:
    """The whole of a reply whose body is bytes.

    Args:
        reply: with its body.
        date: the Date header's line.
        keep: the connection stays open.
        http10: what the client speaks; it has to be told that the connection stays open.
        head_only: the request was a HEAD: everything but the body.
    """
    body = reply.body
    if not isinstance(body, bytes):
        raise TypeError("a stream is not rendered whole")
    status = reply.status
    connection = "" if keep and not http10 else _connection(keep=keep, http10=http10)
    lines = lines_of(reply.headers)
    if reply.ready is not None:
        lines += reply.ready.lines
    first = f"{_LINES.get(status) or _status_line(status)}{lines}{date}"
    if status in _NO_BODY:
        return f"{first}{connection}\r\n".encode("latin-1", "replace")
    head = f"{first}content-length: {len(body)}\r\n{connection}\r\n"
    encoded = head.encode("latin-1", "replace")
    return encoded if head_only else encoded + body


def render_stream_head(reply: Reply, *, date: str, keep: bool, http10: bool) -> bytes:
    """The head of a reply whose length is not known; an HTTP/1.0 client gets it until the connection closes."""
    framing = "" if http10 else "transfer-encoding: chunked\r\n"
    connection = _connection(keep=keep and not http10, http10=http10)
    ready = "" if reply.ready is None else reply.ready.lines
    head = f"{_status_line(reply.status)}{lines_of(reply.headers)}{ready}{date}{framing}{connection}\r\n"
    return head.encode("latin-1", "replace")


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; `data` is not empty."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _status_line(status: int) -> str:
    return _LINES.get(status) or f"HTTP/1.1 {status} \r\n"


def _connection(*, keep: bool, http10: bool) -> str:
    if not keep:
        return "connection: close\r\n"
    return "connection: keep-alive\r\n" if http10 else ""
