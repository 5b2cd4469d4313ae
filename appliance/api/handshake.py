"""A websocket as ASGI gives it, and who takes one."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from appliance.domain.http import Headers, Reply, Request
from appliance.errors import GatewayError


class Handshake:
    """A websocket as ASGI gives it: a handshake first, then messages."""

    def __init__(
        self, request: Request, protocols: list[str], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Any]
    ) -> None:
        """`request` is the handshake; `protocols` are those that the client offers."""
        self.request = request
        self.protocols = protocols
        self.accepted = False
        self.on_accept: Callable[[], None] = lambda: None
        self._receive = receive
        self._send = send

    async def accept(self, protocol: str | None, headers: Headers) -> None:
        """Agree to the websocket."""
        self.accepted = True
        self.on_accept()
        await self._send({"type": "websocket.accept", "subprotocol": protocol, "headers": _encoded(headers)})

    async def refuse(self, reply: Reply) -> None:
        """Answer the handshake with something else."""
        headers = (
            [*reply.all_headers(), ("content-length", str(len(reply.body)))] if isinstance(reply.body, bytes) else []
        )
        start = {"type": "websocket.http.response.start", "status": reply.status, "headers": _encoded(headers)}
        await self._send(start)
        await self._send({"type": "websocket.http.response.body", "body": reply.body})

    async def receive(self) -> str | bytes | None:
        """The next message; None when the client has closed or is gone."""
        while True:
            event = await self._receive()
            match event["type"]:
                case "websocket.receive":
                    text = event.get("text")
                    return event["bytes"] if text is None else text  # type: ignore[no-any-return]
                case "websocket.disconnect":
                    return None

    async def send(self, message: str | bytes) -> None:
        """One message."""
        await self._send({"type": "websocket.send", "text" if isinstance(message, str) else "bytes": message})

    async def close(self, code: int, reason: str) -> None:
        """The last thing that is said."""
        await self._send({"type": "websocket.close", "code": code, "reason": reason})


class SocketEndpoint(Protocol):
    """Serves the websockets of some paths."""

    def serves(self, path: str) -> bool:
        """Whether a path is one of them."""
        ...

    def refusal(self, error: GatewayError) -> Reply:
        """The answer to a handshake that was waiting when the server went away."""
        ...

    async def __call__(self, handshake: Handshake) -> None:
        """One websocket, from its handshake to its end."""
        ...


def _encoded(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers]
