"""The story of a request, top to bottom."""

from dataclasses import dataclass, field

import trio

from appliance.access.keys import Caller
from appliance.access.policy import may_use
from appliance.domain.calls import Call
from appliance.domain.engines import ENGINES
from appliance.domain.http import Headers, Reply
from appliance.errors import GatewayError, UpstreamError
from appliance.fleet.table import FleetTable
from appliance.gateway.accounting import Exchange
from appliance.gateway.attempts import Attempts, EngineReply, in_gateway_terms
from appliance.gateway.relay import Relay
from appliance.routing.catalogue import Catalogue
from appliance.routing.pick import candidates
from appliance.wire.reply import is_object, usage_of, with_request_id

_LARGEST_REPLY = 256 * 2**20  # bytes; 2,048 embeddings of 4,096 floats as text are about 180 MB
_PASSED_ON = {"content-type", "retry-after", "retry-after-ms", "openai-processing-ms"}


@dataclass(slots=True)
class Gateway:
    """Answers calls. One for the whole process.

    Attributes:
        draining: set when the server is going away; new calls are refused.
    """

    catalogue: Catalogue
    fleet: FleetTable
    attempts: Attempts
    draining: bool = False
    _relays: set[Relay] = field(default_factory=set)
    _waiting: set[trio.CancelScope] = field(default_factory=set)  # calls that nothing was answered to yet
    _interruption: GatewayError = field(default_factory=lambda: GatewayError("draining", "The server is going away."))

    async def answer(self, call: Call, caller: Caller, exchange: Exchange) -> Reply:
        """The reply to one call; a streamed one is settled when its stream is closed.

        Raises:
            GatewayError: an error that we answer with; the account is not settled yet.
        """
        fleet = self.fleet.snapshot()
        model = self.catalogue.resolve(call.model, fleet)
        if model is not None and not may_use(caller, model.name):
            raise GatewayError("model_not_allowed", f"This key may not use model {call.model!r}.", param="model")
        if model is None:
            raise GatewayError(
                "model_not_found",
                f"No active model is called {call.model!r}. GET /v1/models lists those that this key may use.",
                param="model",
            )
        exchange.model_known(model.name)
        exchange.stream = call.stream
        if self.draining:
            raise GatewayError(
                "draining", "The server is shutting down and takes no new requests. Try again soon.", retry_after=5
            )
        targets = candidates(model, call.operation, fleet)
        with trio.CancelScope() as scope:
            self._waiting.add(scope)
            try:
                upstream = await self.attempts.first_reply(call, targets, exchange)
                if upstream.status == 200 and _is(upstream, "text/event-stream"):
                    return await self._streamed(call, upstream, exchange)
                return await self._whole(upstream, exchange)
            finally:
                self._waiting.discard(scope)
        raise self._interruption

    async def _streamed(self, call: Call, upstream: EngineReply, exchange: Exchange) -> Reply:
        relay = Relay(upstream, exchange, hide_usage=not call.wants_usage, on_close=self._relays.discard)
        self._relays.add(relay)
        try:
            await relay.prime()
        except BaseException as error:
            if isinstance(error, GatewayError):
                exchange.failed(error)
            with trio.CancelScope(shield=True):  # closing is bounded: it only shuts a socket
                await relay.aclose()
            raise
        headers: Headers = [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-cache"),
            ("x-accel-buffering", "no"),
        ]
        return Reply(200, headers + _ours(exchange), relay)

    async def _whole(self, upstream: EngineReply, exchange: Exchange) -> Reply:
        try:
            body = await upstream.read(_LARGEST_REPLY)
        except UpstreamError as error:
            raise in_gateway_terms(error, exchange.target) from error
        finally:
            with trio.CancelScope(shield=True):  # closing is bounded: it only shuts a socket
                await upstream.aclose()
        headers = [(name, value) for name, value in upstream.headers if name in _PASSED_ON]
        if upstream.status < 300:
            self._refuse_half_an_answer(upstream, body, exchange.target)
            exchange.usage = usage_of(body) or exchange.usage
            body = with_request_id(body, exchange.request_id)
        else:
            headers.append(("x-error-source", "backend"))
            if upstream.status == 500 and ENGINES[exchange.engine].deterministic_500:
                headers.append(("x-should-retry", "false"))
        exchange.bytes_out = len(body)
        exchange.done(upstream.status, "ok" if upstream.status < 400 else "backend_error")
        return Reply(upstream.status, headers + _ours(exchange), body)

    @staticmethod
    def _refuse_half_an_answer(upstream: EngineReply, body: bytes, target: str) -> None:
        if not body:
            raise GatewayError("empty_response", f"The model server {target!r} answered with nothing. Try again.")
        if _is(upstream, "application/json") and not is_object(body):
            raise GatewayError(
                "stream_truncated", f"The answer of the model server {target!r} is not whole; it ended too early."
            )

    def interrupt(self, error: GatewayError) -> None:
        """End everything under way: streams with an error event, calls without an answer yet with the error."""
        self._interruption = error
        for relay in list(self._relays):
            relay.interrupt(error)
        for scope in self._waiting:
            scope.cancel()


def _is(upstream: EngineReply, kind: str) -> bool:
    return any(name == "content-type" and value.startswith(kind) for name, value in upstream.headers)


def _ours(exchange: Exchange) -> Headers:
    return [("x-gateway-model", exchange.model)] if exchange.model.isascii() else []
