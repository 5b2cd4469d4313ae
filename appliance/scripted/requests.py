"""What was asked: bytes into requests, for the scripted engine."""

from dataclasses import dataclass, field

import httptools


@dataclass(slots=True)
class Request:
    """One whole request."""

    method: str = ""
    path: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    keep_alive: bool = True


class Parser:
    """Collects llhttp's callbacks into requests."""

    def __init__(self) -> None:
        self.complete: list[Request] = []
        self.expects_continue = False
        self._request = Request()
        self._parser = httptools.HttpRequestParser(self)

    def feed(self, data: bytes) -> list[Request]:
        """The requests that these bytes completed."""
        self._parser.feed_data(data)
        complete, self.complete = self.complete, []
        return complete

    def on_message_begin(self) -> None:
        """See httptools."""
        self._request = Request()

    def on_url(self, url: bytes) -> None:
        """See httptools."""
        self._request.path += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools."""
        self._request.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._request.method = self._parser.get_method().decode()
        self.expects_continue = ("expect", "100-continue") in self._request.headers

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._request.body += body

    def on_message_complete(self) -> None:
        """See httptools."""
        self._request.keep_alive = self._parser.should_keep_alive()
        self.complete.append(self._request)
