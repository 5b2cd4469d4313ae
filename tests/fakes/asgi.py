"""The server's side of one websocket, as ASGI events."""

from typing import Any

import trio

from appliance.domain.http import Headers


class Socket:
    """A client that connects, says what it is given, and leaves when `leave` is set."""

    def __init__(self, path: str, headers: Headers | None = None, protocols: list[str] | None = None) -> None:
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "raw_path": path.partition("?")[0].encode(),
            "query_string": path.partition("?")[2].encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers or []],
            "subprotocols": protocols or [],
            "client": ("peer", 1),
        }
        self.leave = trio.Event()
        self.sent: list[Any] = []
        self._connected = False

    async def receive(self) -> Any:
        await trio.lowlevel.checkpoint()
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        await self.leave.wait()
        return {"type": "websocket.disconnect", "code": 1000}

    async def send(self, event: Any) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append(event)

    async def until(self, count: int) -> None:
        """Wait for so many events."""
        with trio.fail_after(20):
            while len(self.sent) < count:
                await trio.sleep(0.01)

    @property
    def texts(self) -> list[str]:
        """The messages."""
        return [event["text"] for event in self.sent if event["type"] == "websocket.send"]
