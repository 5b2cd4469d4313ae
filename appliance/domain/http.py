"""A request as a door hands it over, and the reply that the door sends.

Endpoints know these values and neither llhttp nor Quart, so any door can carry them.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from appliance.errors import GatewayError

Headers = list[tuple[str, str]]
_BREAKS = str.maketrans({"\r": " ", "\n": " ", "\0": " "})  # a header of ours or of an engine can never end a line
VERSION = "x-appliance-version"
"""The header that tells commands of which version a server is."""


def lines_of(headers: Headers) -> str:
    """Headers as they are sent, each as a line with its end."""
    lines = list(map(": ".join, headers))
    text = "".join(lines)  # to look for one character is quick, to count the ends of lines is not
    if "\r" in text or "\n" in text or "\0" in text:
        lines = [line.translate(_BREAKS) for line in lines]
    lines.append("")  # the last one ends as well
    return "\r\n".join(lines)


class Ready:
    """Headers that many replies have, together with the lines that they are sent as. Nobody changes them."""

    __slots__ = ("headers", "lines")

    def __init__(self, headers: Headers) -> None:
        self.headers = headers
        self.lines = lines_of(headers)


class BodyReader(Protocol):
    """The request's body, not read yet: authentication comes first."""

    async def read(self, limit: int) -> bytes:
        """The whole body.

        Args:
            limit: most bytes to accept.

        Raises:
            GatewayError: `request_too_large` past the limit, `request_timeout` when it does not arrive.
        """
        ...


@dataclass(slots=True)  # not frozen: that would triple the cost of making one
class Request:
    """One HTTP request, head parsed, body still on the wire. Nobody changes one.

    Attributes:
        method: upper case.
        path: percent-encoded, without the query.
        query: without the question mark.
        headers: names in lower case, in order of arrival.
        peer: the client's address as text; empty when unknown.
        body: reads the body once.
        known: what was found out from these very headers, the length excepted, and need not be found out again when a
            client repeats them: later requests of its connection may have the same one. By who found out and what.
        interrupt: ends the work on it and sends this reply, while no other one has begun; None where no door can.
    """

    method: str
    path: str
    query: str
    headers: Headers
    peer: str
    body: BodyReader
    known: dict[object, Any] = field(default_factory=dict, compare=False, repr=False)
    interrupt: "Callable[[Reply], None] | None" = field(default=None, compare=False, repr=False)

    def header(self, name: str) -> str | None:
        """The first value of a header; `name` in lower case."""
        return next((value for key, value in self.headers if key == name), None)


class ReplyStream(Protocol):
    """A reply's body that is still being made. Whoever gets it closes it, also when cancelled."""

    broken: bool  # it ended with an error: the connection must close after the last byte
    ended: bool  # what was given out last was the last of it

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...

    async def pump(self, offer: Callable[[bytes], bool]) -> None:
        """Give pieces to `offer` as they come, until it returns False or iterating has to go on. It may do nothing."""
        ...

    def keep_alive(self) -> bytes:
        """What shows a client that the stream lives; b"" when something was given out since the last call."""
        ...

    def close(self) -> bool:
        """As `aclose`, where there is nothing to wait for; whether that is so, else `aclose` has to follow."""
        ...

    async def aclose(self) -> None:
        """Release the upstream and settle the accounts; safe to call twice and while cancelled."""
        ...


@dataclass(slots=True)
class Reply:
    """What a door sends back.

    Attributes:
        status: HTTP status.
        headers: names in lower case; the door adds framing and date.
        body: all of it, or a stream that the door must close.
        identified: the headers hold the request's id.
        ready: more headers, behind the others; None where there are none.
    """

    status: int
    headers: Headers = field(default_factory=list)
    body: bytes | ReplyStream = b""
    identified: bool = False
    ready: Ready | None = None

    def all_headers(self) -> Headers:
        """Those that are ready included."""
        return self.headers if self.ready is None else self.headers + self.ready.headers


class Application(Protocol):
    """What stands behind every door: requests in, replies out."""

    def serves(self, path: str) -> bool:
        """Whether a path is in the route table; what is not belongs to the pages behind Quart."""
        ...

    async def __call__(self, request: Request) -> Reply:
        """The reply to a request; never raises except when cancelled. The door closes a streamed body."""
        ...

    def refusal(self, error: GatewayError) -> Reply:
        """The reply to something that is no request at all, or that is refused before it is looked at."""
        ...
