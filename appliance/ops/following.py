"""The output of model processes as server-sent events, for whoever follows it.

    data: {"replica": "m", "lines": ["…"], "missed": 0, "fresh": false}

A comment says at times that nothing is new; `event: end` says why nothing more will come.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import asdict

import msgspec

from appliance.domain.http import Reply
from appliance.domain.orders import LogReader
from appliance.errors import GatewayError

_QUIET = 15.0  # seconds of silence after which a comment is sent, so that both ends see that the other one is there


class LogStream:
    """A `domain.http.ReplyStream`."""

    def __init__(self, reader: LogReader, name: str) -> None:
        self.broken = False
        self.ended = False
        self._reader = reader
        self._greeting = f": the output of {name}\n\n".encode()  # with it goes the head of the reply

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._greeting:
            greeting, self._greeting = self._greeting, b""
            return greeting
        if self.ended:
            raise StopAsyncIteration
        try:
            piece = await self._reader.receive(_QUIET)
        except GatewayError as error:
            self.ended = True
            return b"event: end\n" + _data({"message": error.message})
        return _data(asdict(piece)) if piece is not None else b": nothing new\n\n"

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


def following(reader: LogReader, name: str) -> Reply:
    """The reply to somebody who follows."""
    headers = [("content-type", "text/event-stream"), ("cache-control", "no-cache")]
    return Reply(200, headers, LogStream(reader, name))


def _data(value: object) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"
