"""An engine's reply, scripted piece by piece."""

from collections.abc import Callable

import trio

from appliance.domain.http import Headers
from appliance.errors import ConnectionLost
from appliance.upstream.gaps import Gaps


class ScriptedReply:
    """Gives its pieces one by one; an exception among them is raised. After the last comes a clean end."""

    def __init__(self, *pieces: bytes | Exception, status: int = 200, headers: Headers | None = None) -> None:
        self.status = status
        self.headers: Headers = headers or [("content-type", "text/event-stream")]
        self.closed = False
        self.ended = False
        self.gaps = Gaps()
        self._pieces = list(pieces)
        self._interrupted = trio.Event()

    async def receive(self) -> bytes:
        if not self._pieces:
            self.ended = True
            return b""
        piece = self._pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def silence(self) -> bytes:
        """What comes when nothing comes."""
        await self._interrupted.wait()
        raise ConnectionLost("interrupted", before_reply=False)

    def interrupt(self) -> None:
        self._interrupted.set()

    async def pump(self, taken: Callable[[bytes], bool]) -> None:
        while data := await self.receive():
            if not taken(data):
                return

    async def read(self, limit: int) -> bytes:
        whole = b""
        while piece := await self.receive():
            whole += piece
        return whole

    async def aclose(self) -> None:
        self.closed = True
