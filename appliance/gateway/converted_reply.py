"""A provider's reply put into other words on its way, so that the rest of the path need not know who answered."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from appliance.domain.http import Headers
from appliance.gateway.engine_reply import EngineReply
from appliance.sse import Splitter, cut, data_of


class Events(Protocol):
    """Turns the events of one stream into those of another."""

    def event(self, data: bytes) -> bytes:
        """The whole events for the data of one; b"" where there is nothing to say.

        Raises:
            ProtocolViolation: it is not an event of the stream that this reads.
        """
        ...


@dataclass(slots=True)
class ConvertedReply:
    """The reply in other words.

    Attributes:
        upstream: the provider's own.
        events: for a stream.
        whole: for the body of an answer that comes at once.
    """

    upstream: EngineReply
    events: Events
    whole: Callable[[bytes], bytes]
    _splitter: Splitter = field(default_factory=Splitter)

    @property
    def status(self) -> int:
        """The provider's."""
        return self.upstream.status

    @property
    def headers(self) -> Headers:
        """The provider's."""
        return self.upstream.headers

    @property
    def ended(self) -> bool:
        """The body has arrived whole."""
        return self.upstream.ended

    async def receive(self) -> bytes:
        """The next bytes, in other words; b"" at the end."""
        while data := await self.upstream.receive():
            if out := self._converted(data):
                return out
        return b""

    async def pump(self, taken: Callable[[bytes], bool]) -> None:
        """Give bytes to `taken` as they arrive, until it returns False or there are no more."""

        def converted(data: bytes) -> bool:
            out = self._converted(data)
            return not out or taken(out)

        await self.upstream.pump(converted)

    def interrupt(self) -> None:
        """Whoever waits for the body gets a `ConnectionLost` instead."""
        self.upstream.interrupt()

    async def read(self, limit: int) -> bytes:
        """The whole body, of which the provider's own has at most `limit` bytes."""
        return self.whole(await self.upstream.read(limit))

    async def aclose(self) -> None:
        """Let go of the connection."""
        await self.upstream.aclose()

    def _converted(self, data: bytes) -> bytes:
        run = self._splitter.feed(data)
        return b"".join([self.events.event(data_of(event)) for event in cut(run)]) if run else b""
