"""A model server's reply as the path sees it, whoever gave it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from appliance.domain.http import Headers
from appliance.errors import GatewayError


class EngineReply(Protocol):
    """A model server's reply, as `upstream` gives it."""

    @property
    def status(self) -> int:
        """HTTP status."""
        ...

    @property
    def headers(self) -> Headers:
        """Names in lower case."""
        ...

    @property
    def ended(self) -> bool:
        """The body has arrived whole, and nothing is held any more."""
        ...

    async def receive(self) -> bytes:
        """The next bytes of the body; b"" at its end."""
        ...

    async def pump(self, taken: Callable[[bytes], bool]) -> None:
        """Give body bytes to `taken` as they arrive, until it returns False or there are no more."""
        ...

    def interrupt(self) -> None:
        """Whoever waits for the body gets a `ConnectionLost` instead."""
        ...

    async def read(self, limit: int) -> bytes:
        """The rest of the body, at most `limit` bytes."""
        ...

    async def aclose(self) -> None:
        """Let go of the connection."""
        ...


@dataclass(slots=True)
class ReadAlready:
    """A reply whose body had to be looked at before it could be passed on."""

    status: int
    headers: Headers
    body: bytes
    ended: bool = True

    async def receive(self) -> bytes:
        """All of it, once."""
        body, self.body = self.body, b""
        return body

    async def pump(self, taken: Callable[[bytes], bool]) -> None:
        """All of it, once."""
        taken(await self.receive())

    def interrupt(self) -> None:
        """Nobody waits."""

    async def read(self, limit: int) -> bytes:
        """All of it, once."""
        return (await self.receive())[:limit]

    async def aclose(self) -> None:
        """Nothing to let go of."""
        self.body = b""


def is_of(upstream: EngineReply, kind: str) -> bool:
    """Whether its content is of a media type."""
    for name, value in upstream.headers:
        if name == "content-type":
            return value.startswith(kind)
    return False


def refuse_half_an_answer(upstream: EngineReply, body: bytes, target: str) -> None:
    """Raise where a whole answer of a target is nothing, or JSON that was cut short."""
    if not body:
        raise GatewayError("empty_response", f"The model server {target!r} answered with nothing. Try again.")
    if is_of(upstream, "application/json"):
        raise GatewayError(
            "stream_truncated", f"The answer of the model server {target!r} is not whole; it ended too early."
        )
