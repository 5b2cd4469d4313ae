"""Logs in a browser: the last lines of one, or all that comes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from appliance.console.pages import Asked, Values
from appliance.console.views import logs
from appliance.domain.feeds import Feed, Piece
from appliance.domain.http import Reply
from appliance.domain.orders import LogPiece, LogReader
from appliance.errors import GatewayError
from appliance.observe.said import GATEWAY, Reading, Said
from appliance.ops.following import LogFeed, following


class Logs(Protocol):
    """Logs of replicas; a part of `domain.orders.Orders`."""

    def log_lines(self, replica: str, last: int) -> list[str]:
        """See there."""
        ...

    def follow(self, name: str, last: int) -> LogReader:
        """See there."""
        ...


@dataclass(frozen=True, slots=True)
class LogPages:
    """What the page needs.

    Attributes:
        logs: of replicas.
        said: our own.
        replicas: names of those that there are.
        leaving: the server goes away.
    """

    logs: Logs
    said: Callable[[], Said]
    replicas: Callable[[], list[str]]
    leaving: Callable[[], bool]

    async def page(self, asked: Asked) -> Values:
        """The values of the page; `of` in the query says whose log."""
        name = asked.query.get("of", GATEWAY)
        lines = self.logs.log_lines(name, logs.LAST) if name else self.said().lines(logs.LAST)
        return logs.values(name, self.replicas(), lines)

    async def follow(self, asked: Asked) -> Reply:
        """What comes from here on, until the session is over or the server goes away."""
        name = asked.query.get("of", GATEWAY)
        reader: LogReader = _Readable(Reading(self.said(), 0)) if not name else self.logs.follow(name, 0)
        return following(_WhileWelcome(LogFeed(reader), asked.welcome, self.leaving), "the log")

    async def file(self, asked: Asked) -> Reply:
        """All lines that are at hand, as a file."""
        name = asked.query.get("of", GATEWAY)
        lines = self.logs.log_lines(name, 10**6) if name else self.said().lines(10**6)
        called = "".join(letter if letter.isalnum() or letter in "-_.@" else "_" for letter in name) or "appliance"
        headers = [("content-type", "text/plain; charset=utf-8"), ("cache-control", "no-store")]
        headers += [
            ("content-disposition", f'attachment; filename="{called}.log"'),
            ("x-content-type-options", "nosniff"),
        ]
        return Reply(200, headers, "".join(f"{line}\n" for line in lines).encode())


class _Readable:
    """Our own lines, for people."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader

    async def receive(self, patience: float) -> LogPiece | None:
        piece = await self._reader.receive(patience)
        return None if piece is None else replace(piece, lines=[logs.readable(line) for line in piece.lines])


class _WhileWelcome:
    """A feed that ends with the session."""

    _LOOK = 2.0  # seconds between two looks at that

    def __init__(self, feed: Feed, welcome: Callable[[], bool], leaving: Callable[[], bool]) -> None:
        self._feed = feed
        self._welcome = welcome
        self._leaving = leaving

    async def receive(self, patience: float) -> Piece | None:
        left = patience
        while left > 0:
            if self._leaving() or not self._welcome():
                raise GatewayError("draining", "The session is over, or the server goes away.")
            piece = await self._feed.receive(min(self._LOOK, left))
            if piece is not None:
                return piece
            left -= self._LOOK
        return None
