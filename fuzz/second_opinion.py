"""What others read from the bytes of a connection: llhttp, and h11."""

import contextlib
from dataclasses import dataclass, field

import h11
import httptools


@dataclass(slots=True)
class Message:
    """One request.

    Attributes:
        target: as it stands in the request line.
        headers: names in lower case, values without outer blanks, both as latin-1.
        complete: its end was seen.
    """

    method: str = ""
    target: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    complete: bool = False


class _Collector:
    """llhttp's callbacks."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.parser = httptools.HttpRequestParser(self)
        self._in_body = False

    def on_message_begin(self) -> None:
        self.messages.append(Message())
        self._in_body = False

    def on_url(self, url: bytes) -> None:
        self.messages[-1].target += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:  # later ones are trailers
            self.messages[-1].headers.append((name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")))

    def on_headers_complete(self) -> None:
        self.messages[-1].method = self.parser.get_method().decode()
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        self.messages[-1].body += body

    def on_message_complete(self) -> None:
        self.messages[-1].complete = True


def llhttp(raw: bytes) -> list[Message]:
    """The requests up to the first fault, the last one perhaps in part; nothing follows a change of protocol."""
    collector = _Collector()
    with contextlib.suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):  # what was read until then counts
        collector.parser.feed_data(raw)
    return [message for message in collector.messages if message.method]


def by_h11(raw: bytes) -> list[Message]:
    """The same as h11 sees it; each request is answered at once, so that the next one is read."""
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
    messages: list[Message] = []
    try:
        server.receive_data(raw or b"\r\n")  # nothing at all would be the end of the connection
        while (event := server.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Request):
                headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers]
                messages.append(Message(event.method.decode(), event.target.decode("latin-1"), headers))
            elif isinstance(event, h11.Data):
                messages[-1].body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                messages[-1].complete = True
                server.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                server.send(h11.EndOfMessage())
                server.start_next_cycle()
    except (h11.RemoteProtocolError, h11.LocalProtocolError):
        pass  # a fault, or the client wanted the connection to end
    return messages
