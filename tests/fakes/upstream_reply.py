"""An engine's reply, scripted piece by piece."""

from appliance.domain.http import Headers


class ScriptedReply:
    """Gives its pieces one by one; an exception among them is raised. After the last comes a clean end."""

    def __init__(self, *pieces: bytes | Exception, status: int = 200, headers: Headers | None = None) -> None:
        self.status = status
        self.headers: Headers = headers or [("content-type", "text/event-stream")]
        self.closed = False
        self._pieces = list(pieces)

    async def receive(self) -> bytes:
        if not self._pieces:
            return b""
        piece = self._pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def read(self, limit: int) -> bytes:
        whole = b""
        while piece := await self.receive():
            whole += piece
        return whole

    async def aclose(self) -> None:
        self.closed = True
