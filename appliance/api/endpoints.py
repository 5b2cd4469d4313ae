"""The inference endpoints: authenticate, parse, ask the gateway."""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import cast

from appliance.access.byok import byok_of
from appliance.access.keys import KeyRing
from appliance.access.policy import require_scope
from appliance.api.reply import error_reply, json_reply, with_ids
from appliance.api.routes import Endpoint, Route
from appliance.domain.calls import Call, Dialect, Operation
from appliance.domain.http import Reply, Request
from appliance.errors import GatewayError
from appliance.gateway.accounting import Accounts, Exchange
from appliance.gateway.listing import Listing
from appliance.gateway.pipeline import Gateway
from appliance.gateway.served import served_by
from appliance.limits.ledger import Ledger
from appliance.translate.messages_request import parse_count, parse_messages
from appliance.translate.native_messages import parse_native
from appliance.wire.form import parse_form
from appliance.wire.models import model_list
from appliance.wire.named_request import parse_named
from appliance.wire.openai_request import parse_call
from appliance.wire.trace import HEADER, read_trace

PREFIXES = ("/v1", "/api/client/v1")
Parse = Callable[[Request, bytes], Call]
_OF_THE_DIALECT = ("anthropic-version", "anthropic-beta")
_VALID_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_LOG = logging.getLogger("appliance.api")


def client_trace(request: Request) -> tuple[str, str] | None:
    """The trace that the client says its request belongs to, and its flags."""
    known = request.known
    if HEADER not in known:
        value = request.header(HEADER)
        known[HEADER] = None if value is None else read_trace(value)
    return cast("tuple[str, str] | None", known[HEADER])


def client_request_id(request: Request) -> str | None:
    """The correlation id of the header, if the client sent a valid one."""
    if _VALID_ID not in request.known:
        value = request.header("x-request-id") or ""
        request.known[_VALID_ID] = value if _VALID_ID.fullmatch(value) else None
    return cast("str | None", request.known[_VALID_ID])


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What the inference endpoints need.

    Attributes:
        max_body: largest request body in bytes.
    """

    keys: KeyRing
    gateway: Gateway
    listing: Listing
    accounts: Accounts
    ledger: Ledger
    max_body: int

    def routes(self) -> list[Route]:
        """The inference routes, identical under both prefixes."""
        table: list[Route] = []
        for prefix in PREFIXES:
            table += [
                Route(
                    "GET" if operation.socket else "POST",
                    prefix + operation.path.removeprefix("/v1"),
                    self._endpoint(operation),
                )
                for operation in Operation
            ]
            table += [
                Route("GET", f"{prefix}/models", self._models),
                Route("GET", f"{prefix}/models/{{id}}", self._model),
            ]
        table += [
            Route("POST", path, self._endpoint(operation)) for operation in Operation for path in operation.aliases
        ]
        return table

    def _endpoint(self, operation: Operation) -> Endpoint:
        return partial(self._infer, operation, _parser(operation))

    async def _infer(self, operation: Operation, parse: Parse, request: Request, _: str) -> Reply:
        exchange = self.accounts.open(operation, request.peer, client_request_id(request))
        exchange.trace = client_trace(request)
        exchange.interrupt = request.interrupt
        try:
            reply = await self._answer(parse, request, exchange)
        except GatewayError as error:
            exchange.failed(error)
            reply = error_reply(error, exchange.request_id, operation.dialect)
            reply.headers += served_by(exchange)
        except Exception:  # noqa: BLE001 - whatever it is, the client gets an answer and the log the traceback
            # The traceback is for the log; the client gets the id to quote.
            _LOG.exception("request %s failed", exchange.request_id)
            bug = GatewayError("internal_error", "A bug in the appliance, not in your request. Its log has more.")
            exchange.failed(bug)
            reply = error_reply(bug, exchange.request_id, operation.dialect)
        except BaseException:  # cancelled, alone or in a group of a nursery on the way
            exchange.cancelled(self.gateway.interruption)
            raise
        else:
            with_ids(reply, exchange.request_id)
        if exchange.key:
            reply.ready = self.ledger.headers(exchange.key, exchange.model, self.accounts.clock())
        return reply

    async def _answer(self, parse: Parse, request: Request, exchange: Exchange) -> Reply:
        caller = self.keys.find(request.headers, request.known)  # before the body is read, let alone parsed
        exchange.key = caller.name
        require_scope(caller, "infer")
        byok = byok_of(request.headers, request.known)
        body = await request.body.read(self.max_body)
        exchange.arrived = self.accounts.clock()
        native = byok is not None and byok.provider == "anthropic" and exchange.operation.dialect is Dialect.MESSAGES
        call = parse_native(exchange.operation, body) if native else parse(request, body)
        if call.request_id is not None:
            exchange.request_id = call.request_id
        if call.foreign is not None:
            exchange.dialect_headers = [header for header in request.headers if header[0] in _OF_THE_DIALECT]
        return await self.gateway.answer(call, caller, exchange, request.headers, byok)

    async def _models(self, request: Request, _: str) -> Reply:
        caller = self.keys.find(request.headers)
        return Reply(200, [("content-type", "application/json")], model_list(self.listing.entries(caller)))

    async def _model(self, request: Request, name: str) -> Reply:
        return json_reply(self.listing.entry(name, self.keys.find(request.headers)))


def _parser(operation: Operation) -> Parse:
    """What reads the body of a request for an operation."""
    match operation:
        case Operation.MESSAGES:
            return lambda _, body: parse_messages(body)
        case Operation.COUNT_TOKENS:
            return lambda _, body: parse_count(body)
        case Operation.CHAT | Operation.COMPLETION | Operation.EMBEDDING:
            return lambda _, body: parse_call(operation, body)
        case _ if operation.socket:
            return _no_socket
        case _ if operation.form:
            return lambda request, body: parse_form(operation, body, request.header("content-type") or "")
        case _:
            return lambda _, body: parse_named(operation, body)


def _no_socket(request: Request, _: bytes) -> Call:
    """A websocket's handshake never comes here, but goes to `realtime`."""
    raise GatewayError(
        "malformed_request", f"{request.path} is a WebSocket: connect to it with ws:// or wss:// in place of http."
    )
