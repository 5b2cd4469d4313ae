"""Realtime sessions as ASGI websockets: the handshake checked like any request, then the gateway's."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import trio

from appliance.access.byok import byok_of
from appliance.access.hosts import KnownHosts
from appliance.access.keys import KeyRing
from appliance.access.pace import Pace
from appliance.access.policy import require_scope
from appliance.api.endpoints import PREFIXES, client_request_id
from appliance.api.reply import error_reply
from appliance.domain.calls import Call, Operation
from appliance.domain.http import Headers, Reply, Request
from appliance.errors import GatewayError
from appliance.gateway.accounting import Accounts, Exchange
from appliance.gateway.realtime import Realtime, Wanted
from appliance.limits.ledger import Ledger
from appliance.observe.metrics import Metrics
from appliance.wire.realtime import PROTOCOL, asked_for, key_of

_LOG = logging.getLogger("appliance.api")
_PATHS = {prefix + Operation.REALTIME.path.removeprefix("/v1") for prefix in PREFIXES}
_AGREED = 101


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
        headers = [*reply.headers, ("content-length", str(len(reply.body)))] if isinstance(reply.body, bytes) else []
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


@dataclass(frozen=True, slots=True)
class RealtimeEndpoint:
    """What the route needs.

    Attributes:
        hosts: checked where no key is asked for.
        pace: slows refusals of keys.
    """

    keys: KeyRing
    sessions: Realtime
    accounts: Accounts
    ledger: Ledger
    metrics: Metrics
    hosts: KnownHosts | None
    pace: Pace = field(default_factory=Pace)

    def serves(self, path: str) -> bool:
        """Whether a path is this route's."""
        return path in _PATHS

    def refusal(self, error: GatewayError) -> Reply:
        """The answer to a handshake that was waiting when the server went away."""
        return error_reply(error, f"req_{self.accounts.new_id()}")

    async def __call__(self, handshake: Handshake) -> None:
        """One session, from its handshake to its end."""
        request, operation = handshake.request, Operation.REALTIME
        exchange = self.accounts.open(operation, request.peer, client_request_id(request))
        status = _AGREED
        try:
            status = await self._session(handshake, exchange)
        except GatewayError as error:
            status = await self._refuse(handshake, exchange, error)
        except Exception:  # noqa: BLE001 - whatever it is, the client gets an answer and the log the traceback
            # The traceback is for the log; the client gets the id to quote.
            _LOG.exception("request %s failed", exchange.request_id)
            bug = GatewayError("internal_error", "A bug in the appliance, not in your request. Its log has more.")
            status = await self._refuse(handshake, exchange, bug)
        except BaseException:  # cancelled, alone or in a group of a nursery on the way
            exchange.cancelled(self.sessions.gateway.interruption)
            raise
        finally:
            self.metrics.http_request(operation.path, "GET", status)

    async def _session(self, handshake: Handshake, exchange: Exchange) -> int:
        request = handshake.request
        if self.hosts is not None:
            self.hosts.check(request.header("host"))
        hidden = key_of(handshake.protocols)
        headers = [*request.headers, ("authorization", f"Bearer {hidden}")] if hidden else request.headers
        caller = self.keys.find(headers)
        exchange.key = caller.name
        require_scope(caller, "infer")
        if byok_of(request.headers, request.known) is not None:
            words = "No provider offers realtime sessions here. Leave `x-byok-provider` and its key out."
            raise GatewayError("unsupported", words)
        model, more = asked_for(request.query)
        if not model:
            words = "'model' is required in the query of the address: /v1/realtime?model=NAME."
            raise GatewayError("missing_required_parameter", words, param="model")
        call = Call(Operation.REALTIME, model, b"", stream=True)
        wanted = Wanted(call, more, PROTOCOL in handshake.protocols)
        return await self.sessions.serve(wanted, caller, exchange, handshake)

    async def _refuse(self, handshake: Handshake, exchange: Exchange, error: GatewayError) -> int:
        exchange.failed(error, status=_AGREED if handshake.accepted else None)
        if handshake.accepted:
            await handshake.close(1011, error.code)
            return _AGREED
        reply = error_reply(error, exchange.request_id)
        if exchange.key:
            reply.headers += self.ledger.headers(exchange.key, exchange.model, self.accounts.clock())
        if error.code == "invalid_api_key":
            await trio.sleep(self.pace.wait(handshake.request.peer, trio.current_time()))
        await handshake.refuse(reply)
        return reply.status


def _encoded(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers]
