"""Websockets on their way from ASGI to whoever serves their path: Quart would hide how a client closes."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import trio

from appliance.api.handshake import Handshake, SocketEndpoint
from appliance.domain.http import BodyReader, Headers, Request
from appliance.errors import GatewayError

Scope = dict[str, Any]  # an ASGI scope
_NOWHERE = GatewayError("unknown_url", "No websocket is served here.")


class Waiting:
    """The requests that have no answer yet, so that a server that goes away can answer them."""

    def __init__(self) -> None:
        self._scopes: set[trio.CancelScope] = set()
        self._interruption: GatewayError | None = None

    def add(self, scope: trio.CancelScope) -> None:
        """One more."""
        self._scopes.add(scope)

    def discard(self, scope: trio.CancelScope) -> None:
        """It has one now."""
        self._scopes.discard(scope)

    def leaving(self) -> GatewayError:
        """Why they are answered with an error."""
        return self._interruption or GatewayError("draining", "The server is going away.")

    def interrupt(self, error: GatewayError) -> None:
        """Answer every one of them with an error."""
        self._interruption = error
        for scope in self._scopes:
            scope.cancel()


class SocketApp:
    """An ASGI application that serves websockets and nothing else.

    Args:
        endpoints: the first that serves a path gets it.
    """

    def __init__(self, endpoints: Sequence[SocketEndpoint]) -> None:
        self._endpoints = endpoints
        self._waiting = Waiting()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one websocket; what is none gets no answer."""
        if scope["type"] != "websocket":
            return
        endpoint = endpoint_for(scope, self._endpoints)
        if endpoint is not None:
            await serve_socket(endpoint, scope, receive, send, self._waiting)
        elif self._endpoints:
            handshake = Handshake(request_of(scope, NoBody()), scope["subprotocols"], receive, send)
            await handshake.refuse(self._endpoints[0].refusal(_NOWHERE))


class NoBody:
    """What a handshake has."""

    async def read(self, limit: int) -> bytes:  # noqa: ARG002
        """Nothing."""
        return b""


def endpoint_for(scope: Scope, endpoints: Sequence[SocketEndpoint]) -> SocketEndpoint | None:
    """Who serves the path of a websocket."""
    path = _path(scope)
    return next((endpoint for endpoint in endpoints if endpoint.serves(path)), None)


async def serve_socket(endpoint: SocketEndpoint, scope: Scope, receive: Any, send: Any, waiting: Waiting) -> None:
    """One websocket; until it is accepted or refused it is among those that wait."""
    handshake = Handshake(request_of(scope, NoBody()), scope["subprotocols"], receive, send)
    with trio.CancelScope() as unanswered:
        waiting.add(unanswered)
        handshake.on_accept = partial(waiting.discard, unanswered)
        try:
            await endpoint(handshake)
        finally:
            waiting.discard(unanswered)
    if unanswered.cancelled_caught:
        await handshake.refuse(endpoint.refusal(waiting.leaving()))


def request_of(scope: Scope, body: BodyReader) -> Request:
    """A request as the other door would hand it over."""
    headers: Headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
    peer = (scope.get("client") or ("", 0))[0]
    query = scope["query_string"].decode("latin-1")
    return Request(scope.get("method", "GET"), _path(scope), query, headers, peer, body)


def _path(scope: Scope) -> str:
    path: str = scope["raw_path"].decode("latin-1").partition("?")[0]
    return path
