"""Realtime sessions as ASGI websockets: the handshake checked like any request, then the gateway's."""

import logging
from dataclasses import dataclass, field

import trio

from appliance.access.byok import byok_of
from appliance.access.hosts import KnownHosts
from appliance.access.keys import KeyRing
from appliance.access.pace import Pace
from appliance.access.policy import require_scope
from appliance.api.endpoints import PREFIXES, client_request_id, client_trace
from appliance.api.handshake import Handshake
from appliance.api.reply import error_reply
from appliance.domain.calls import Call, Operation
from appliance.domain.http import Reply
from appliance.errors import GatewayError
from appliance.gateway.accounting import Accounts, Exchange
from appliance.gateway.realtime import Realtime, Wanted
from appliance.limits.ledger import Ledger
from appliance.observe.metrics import Metrics
from appliance.wire.realtime import PROTOCOL, asked_for, key_of

_LOG = logging.getLogger("appliance.api")
_PATHS = {prefix + Operation.REALTIME.path.removeprefix("/v1") for prefix in PREFIXES}
_AGREED = 101


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
        exchange.trace = client_trace(request)
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
            reply.ready = self.ledger.headers(exchange.key, exchange.model, self.accounts.clock())
        if error.code == "invalid_api_key":
            await trio.sleep(self.pace.wait(handshake.request.peer, trio.current_time()))
        await handshake.refuse(reply)
        return reply.status
