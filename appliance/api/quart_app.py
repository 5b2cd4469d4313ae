"""Quart as a door: the same route table under Quart-Trio.

Quart brings HTTP/2, websockets and pages; here it only carries bytes. Two of its defaults would break streams: a
60 s limit on a whole response, and on a body; both are off, and our own deadlines apply.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, cast

import trio
from quart import Request as QuartRequest
from quart import Response, has_request_context, request
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection, TrioASGIWebsocketConnection
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from appliance.api.handshake import SocketEndpoint
from appliance.api.socket_app import Scope, Waiting, endpoint_for, request_of, serve_socket
from appliance.domain.http import Application, Reply, Request
from appliance.errors import GatewayError

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


class _Connection(TrioASGIHTTPConnection):
    """Owns the reply of its request, so that a stream is closed on every way out, cancellation included."""

    async def handle_request(self, nursery: trio.Nursery, request: QuartRequest, send: Any) -> None:  # type: ignore[override]  # Quart-Trio overrides it this way
        async with AsyncExitStack() as owned:
            cast("Scope", self.scope)["appliance.owned"] = owned
            await super().handle_request(nursery, request, partial(_send_whole_end, send))


class _Socket(TrioASGIWebsocketConnection):
    """Websockets that somebody serves go past Quart, which would hide how a client closes and which bytes are whose."""

    async def __call__(self, receive: Any, send: Any) -> None:
        app, scope = cast("App", self.app), cast("Scope", self.scope)
        endpoint = endpoint_for(scope, app.sockets)
        if endpoint is None:
            await super().__call__(receive, send)
        else:
            await serve_socket(endpoint, scope, receive, send, app.waiting)


async def _send_whole_end(send: Callable[[Any], Awaitable[None]], message: Any) -> None:
    """Send one ASGI message; the last one of a response is not cut short.

    Hypercorn tells the application of a "disconnect" in the middle of ending its response; Quart then cancels the task
    that is ending it, and the connection would be left without its idle timer. The door bounds every write.
    """
    last = message["type"] == "http.response.body" and not message.get("more_body", False)
    with trio.CancelScope(shield=last):
        await send(message)


class _Body:
    """The body as Quart receives it."""

    def __init__(self, carrier: QuartRequest, seconds: float) -> None:
        self._carrier = carrier
        self._seconds = seconds

    async def read(self, limit: int) -> bytes:
        too_large = GatewayError(
            "request_too_large", f"The body is larger than {limit} bytes, this server's `max_body`. Send less."
        )
        if (self._carrier.content_length or 0) > limit:
            raise too_large
        body = b""
        with trio.move_on_after(self._seconds) as scope:
            try:
                body = cast("bytes", await self._carrier.get_data(cache=False))
            except RequestEntityTooLarge:
                raise too_large from None
        if scope.cancelled_caught:
            raise GatewayError("request_timeout", f"The body did not arrive within {self._seconds:g} s. Try again.")
        return body


class App(QuartTrio):
    """The ASGI application.

    Attributes:
        waiting: the requests that have no answer yet.
        sockets: serve websockets; the first that serves a path gets it.
    """

    def __init__(self, sockets: Sequence[SocketEndpoint] = ()) -> None:
        super().__init__("appliance", static_folder=None)
        self.sockets = sockets
        self.waiting = Waiting()

    def interrupt(self, error: GatewayError) -> None:
        """Answer every request that has no answer yet with an error."""
        self.waiting.interrupt(error)


def build_app(
    application: Application, *, max_body: int, body_timeout: float, sockets: Sequence[SocketEndpoint] = ()
) -> App:
    """The ASGI application.

    Args:
        application: finds and runs the endpoint.
        max_body: bytes; Quart stops buffering there.
        body_timeout: seconds for a request's body to arrive.
        sockets: serve websockets.
    """
    app = App(sockets)
    app.asgi_http_class = _Connection
    app.asgi_websocket_class = _Socket
    app.config.update(RESPONSE_TIMEOUT=None, BODY_TIMEOUT=None, MAX_CONTENT_LENGTH=max_body)

    async def dispatch(request: Request) -> Reply:
        refusal: Reply | None = None
        with trio.CancelScope() as waiting:

            def interrupt(reply: Reply) -> None:
                nonlocal refusal
                refusal = reply
                waiting.cancel()

            request.interrupt = interrupt
            app.waiting.add(waiting)
            try:
                return await application(request)
            finally:
                app.waiting.discard(waiting)
        return refusal or application.refusal(app.waiting.leaving())

    async def carry(path: str = "") -> Response:  # noqa: ARG001 - the raw path is taken from the scope
        scope = cast("Scope", request.scope)
        reply = await dispatch(_from_quart(scope, body_timeout))
        owned: AsyncExitStack = scope["appliance.owned"]
        return _to_quart(reply, owned, scope)

    async def refused(error: HTTPException) -> Response:
        # A method that no route knows, a malformed request that Quart itself refuses, or a websocket handshake.
        if not has_request_context():
            return Response(b"", error.code or 400)
        reply = await dispatch(_from_quart(cast("Scope", request.scope), body_timeout))
        return (
            Response(cast("bytes", reply.body), reply.status, dict(reply.all_headers()))
            if error.code
            else Response(b"", 400)
        )

    app.add_url_rule("/", "root", carry, methods=_METHODS, provide_automatic_options=False)
    app.add_url_rule(
        "/<path:path>", "any", carry, methods=_METHODS, provide_automatic_options=False, merge_slashes=False
    )
    app.register_error_handler(HTTPException, refused)
    return app


def _from_quart(scope: Scope, body_timeout: float) -> Request:
    carrier = cast("QuartRequest", request._get_current_object())  # type: ignore[attr-defined]  # noqa: SLF001 - the proxy must not outlive its context
    return request_of(scope, _Body(carrier, body_timeout))


def _to_quart(reply: Reply, owned: AsyncExitStack, scope: Scope) -> Response:
    if isinstance(reply.body, bytes):
        response = Response(reply.body, reply.status)
    else:
        stream = reply.body
        owned.push_async_callback(_close, stream, scope)
        response = Response(stream, reply.status)
        response.timeout = None
    response.headers.clear()
    for name, value in reply.all_headers():
        response.headers.add(name, value)
    if isinstance(reply.body, bytes):
        response.headers["content-length"] = str(len(reply.body))
    return response


async def _close(stream: Any, scope: Scope) -> None:
    with trio.CancelScope(shield=True):  # closing is bounded: it only shuts a socket
        await stream.aclose()
    hang_up = (scope.get("state") or {}).get("appliance.hang_up")
    if stream.broken and hang_up is not None:
        hang_up()
