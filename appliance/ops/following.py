"""What is followed, as server-sent events. Over a websocket the same pieces are messages (`api.feed_sockets`).

    id: 42
    event: missed
    data: {"…": "…"}

A comment says at times that nothing is new; `event: end` says why nothing more will come.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import asdict

import msgspec

from appliance.domain.feeds import Feed, Piece
from appliance.domain.http import Reply, Request
from appliance.domain.orders import LogReader
from appliance.errors import GatewayError

_QUIET = 15.0  # seconds of silence after which a comment is sent, so that both ends see that the other one is there
_EVENTS = "text/event-stream"


class FeedStream:
    """A `domain.http.ReplyStream`.

    Attributes:
        feed: where the pieces come from, for whoever carries them in another way.
    """

    def __init__(self, feed: Feed, greeting: str) -> None:
        """`greeting` is the first comment; with it goes the head of the reply."""
        self.broken = False
        self.ended = False
        self.feed = feed
        self._greeting = f": {greeting}\n\n".encode()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._greeting:
            greeting, self._greeting = self._greeting, b""
            return greeting
        if self.ended:
            raise StopAsyncIteration
        try:
            piece = await self.feed.receive(_QUIET)
        except GatewayError as error:
            self.ended = True
            return written(Piece(msgspec.json.encode({"message": error.message}), event="end"))
        return written(piece) if piece is not None else b": nothing new\n\n"

    async def pump(self, offer: Callable[[bytes], bool]) -> None:
        """Nothing is there beforehand: pieces come by iterating."""

    def keep_alive(self) -> bytes:
        """Nothing: a piece comes often enough, if only to say that there is none."""
        return b""

    def close(self) -> bool:
        """There is nothing to wait for."""
        return True

    async def aclose(self) -> None:
        """Nothing is held."""


class LogFeed:
    """The output of model processes as a feed: `{"replica": "m", "lines": ["…"], "missed": 0, "fresh": false}`."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader

    async def receive(self, patience: float) -> Piece | None:
        """See `domain.feeds.Feed`."""
        piece = await self._reader.receive(patience)
        return None if piece is None else Piece(msgspec.json.encode(asdict(piece)))


def wants_to_follow(request: Request, query: dict[str, list[str]]) -> bool:
    """Whether somebody asks for what comes and not for what is there: by `follow=1` or by the form of the answer."""
    return query.get("follow", ["0"])[-1] in ("1", "true") or _EVENTS in (request.header("accept") or "")


def following(feed: Feed, greeting: str) -> Reply:
    """The reply to somebody who follows."""
    return Reply(200, [("content-type", _EVENTS), ("cache-control", "no-cache")], FeedStream(feed, greeting))


def written(piece: Piece) -> bytes:
    """A piece as one server-sent event."""
    head = (f"id: {piece.id}\n" if piece.id else "") + (f"event: {piece.event}\n" if piece.event else "")
    return head.encode() + b"data: " + piece.data + b"\n\n"
