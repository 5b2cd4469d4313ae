"""Realtime sessions: a websocket to a client and one to an engine, and every message of either passed to the other.

A message is passed on before the next one is read, so that whoever does not read slows whoever sends. One session is
one exchange, settled when it ends; tokens are those that the engine's events count.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import trio

from appliance.access.keys import Caller
from appliance.domain.calls import Call, Usage
from appliance.domain.http import Headers, Reply
from appliance.domain.targets import Target
from appliance.errors import ConnectFailed, GatewayError, UpstreamError
from appliance.gateway.accounting import Exchange
from appliance.gateway.attempts import WAITING_CODES, in_gateway_terms, reason_of, redirected
from appliance.gateway.pipeline import Gateway
from appliance.gateway.served import served_by
from appliance.routing.pick import unsupported
from appliance.upstream.websocket import Ended, EngineSocket, Rejected, open_websocket
from appliance.wire.realtime import PROTOCOL, closing, error_event, path_for, renamed, usage_of, went_well

_ATTEMPTS = 2
_PING = 20.0  # seconds between two signs of life of the engine, and the longest wait for one
_GOODBYE = 5.0  # seconds for a client to take the last words
_AGREED = 101  # the status of an accepted handshake
_SERVER_LEAVES, _FAILED = 1001, 1011  # close codes


class Client(Protocol):
    """The client's side, whose handshake is not answered yet."""

    async def refuse(self, reply: Reply) -> None:
        """Answer the handshake with something else."""
        ...

    async def accept(self, protocol: str | None, headers: Headers) -> None:
        """Agree to the websocket."""
        ...

    async def receive(self) -> str | bytes | None:
        """The next message; None when the client has closed or is gone."""
        ...

    async def send(self, message: str | bytes) -> None:
        """One message; waits for a client that does not read."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """The last thing that is said."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a handshake asks for.

    Attributes:
        call: the operation and the model; it has no body.
        query: what else stood in the query.
        protocol: the client offered the API's own.
    """

    call: Call
    query: list[tuple[str, str]]
    protocol: bool


class Conversation:
    """One session, from an accepted call to its end. See the module."""

    def __init__(self, client: Client, exchange: Exchange, call: Call, target: Target) -> None:
        self.bytes_out = 0  # grows with every sign of life of the engine: its supervisor wants to know
        self._client = client
        self._exchange = exchange
        self._public, self._name = call.model, target.model or call.model
        self._scope = trio.CancelScope()
        self._error: GatewayError | None = None
        self._end: tuple[int, str] | None = None  # how the engine closed
        exchange.answer = self

    @property
    def tokens(self) -> int:
        """None that could be told from other messages."""
        return 0

    def cut(self, error: GatewayError) -> None:
        """The replica is about to end."""
        self.interrupt(error)

    def interrupt(self, error: GatewayError) -> None:
        """End it now, with an error event."""
        self._error = self._error or error
        self._scope.cancel()

    async def run(self, engine: EngineSocket, total: float) -> None:
        """Carry messages until either side ends it; the exchange is settled on return.

        Args:
            engine: the caller closes it.
            total: seconds that it may take; infinite for any.
        """
        exchange = self._exchange
        with self._scope, trio.move_on_after(total) as limit:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._to_engine, engine, nursery.cancel_scope, name="to engine")
                nursery.start_soon(self._to_client, engine, nursery.cancel_scope, name="to client")
                nursery.start_soon(self._listen, engine, nursery.cancel_scope, name="signs of life")
        if limit.cancelled_caught and self._error is None:
            self._error = GatewayError("backend_timeout", f"A session may take {total:g} s here, and has.")
        with trio.move_on_after(_GOODBYE):
            if self._error is not None:
                await self._client.send(error_event(self._error, exchange.request_id))
                leaving = self._error.row.status == 503
                await self._client.close(*closing(_SERVER_LEAVES if leaving else _FAILED, self._error.code))
            elif self._end is not None:
                await self._client.close(*self._end)
        if self._error is not None:
            exchange.failed(self._error, status=_AGREED)
        else:
            exchange.done(_AGREED)

    async def _to_engine(self, engine: EngineSocket, session: trio.CancelScope) -> None:
        while (message := await self._client.receive()) is not None:
            if isinstance(message, str):
                message = renamed(message, self._public, self._name)
            try:
                await engine.send(message)
            except Ended:
                return  # how it ended, the other direction is told
        session.cancel()

    async def _to_client(self, engine: EngineSocket, session: trio.CancelScope) -> None:
        exchange = self._exchange
        while True:
            try:
                message = await engine.receive()
            except Ended as end:
                if went_well(end.code):
                    self._end = closing(end.code, end.reason)
                else:
                    words = f"The model server {exchange.target!r} ended the session ({end.code})."
                    self._error = self._error or GatewayError("backend_died", f"{words} Begin a new one.")
                session.cancel()
                return
            exchange.token_seen()
            exchange.bytes_out += len(message)
            self.bytes_out += 1
            if isinstance(message, str) and (usage := usage_of(message)):
                so_far = exchange.usage
                exchange.usage = Usage(so_far.input + usage.input, so_far.output + usage.output)
            await self._client.send(message)

    async def _listen(self, engine: EngineSocket, session: trio.CancelScope) -> None:
        """Silence is part of a conversation, so an engine is asked now and then whether it still lives."""
        while True:
            await trio.sleep(_PING)
            seen = self.bytes_out
            with trio.move_on_after(_PING) as patience:
                try:
                    await engine.ping()
                except Ended:
                    return  # how it ended, another task is told
            if patience.cancelled_caught and seen == self.bytes_out:
                words = f"The model server {self._exchange.target!r} gives no sign of life. Begin a new session."
                self._error = self._error or GatewayError("backend_timeout", words)
                session.cancel()
                return
            self.bytes_out += 1


@dataclass(frozen=True, slots=True)
class Realtime:
    """Begins sessions."""

    gateway: Gateway

    async def serve(self, wanted: Wanted, caller: Caller, exchange: Exchange, client: Client) -> int:
        """One whole session; the status that its handshake was answered with.

        Raises:
            GatewayError: there is none; the client's handshake has not been answered, and nothing is settled.
        """
        targets = self.gateway.session(wanted.call, caller, exchange)
        total = self.gateway.attempts.deadlines.total or math.inf
        problem: GatewayError | Rejected | None = None
        async with trio.open_nursery() as nursery:
            try:
                engine, target = await self._opened(nursery, wanted, targets, exchange)
            except (GatewayError, Rejected) as error:  # raised outside the nursery, which would wrap it in a group
                problem = error
            else:
                conversation = Conversation(client, exchange, wanted.call, target)
                if exchange.lease is not None:
                    exchange.lease.user = conversation
                if exchange.ended is not None:  # the replica was told to end while the engine agreed
                    conversation.interrupt(exchange.ended)
                exchange.phase = "streaming"
                try:
                    with self.gateway.under_way(conversation):
                        await client.accept(PROTOCOL if wanted.protocol else None, served_by(exchange))
                        await conversation.run(engine, total)
                finally:
                    await engine.aclose()
            nursery.cancel_scope.cancel()
        if isinstance(problem, Rejected):
            return await self._passed_on(problem, exchange, client)
        if problem is not None:
            raise problem
        return _AGREED

    async def _passed_on(self, rejected: Rejected, exchange: Exchange, client: Client) -> int:
        """What the engine said in place of agreeing, as it said it."""
        status, request_id = rejected.status, exchange.request_id
        headers = [("content-type", "application/json"), ("x-error-source", "backend")]
        headers += [("x-request-id", request_id), ("request-id", request_id), *served_by(exchange)]
        await client.refuse(Reply(status, headers, rejected.body))
        exchange.done(status, "backend_error")
        return status

    async def _opened(
        self, nursery: trio.Nursery, wanted: Wanted, targets: list[Target], exchange: Exchange
    ) -> tuple[EngineSocket, Target]:
        """A websocket with the first target that agrees to one."""
        attempts, call = self.gateway.attempts, wanted.call
        protocols = [PROTOCOL] if wanted.protocol else []
        chosen = targets[:_ATTEMPTS]
        for number, target in enumerate(chosen, 1):
            last = number == len(chosen)
            exchange.target, exchange.engine, exchange.aim = target.name, target.engine, target
            path = path_for(call.operation.engine_path, target.model or call.model, wanted.query)
            begin = partial(self._begun, nursery, path, protocols, target, exchange, chosen[number:])
            try:
                try:
                    return await begin(), target
                except ConnectFailed:
                    if not await attempts.next_life(target, exchange, chosen[number:]):
                        raise
                return await begin(), target
            except UpstreamError as error:
                attempts.metrics.upstream_failed(target.name, reason_of(error))
                if last or exchange.tried:
                    raise exchange.ended or in_gateway_terms(error, target.name) from error
                attempts.try_another(exchange, target, reason_of(error), in_gateway_terms(error, target.name))
            except GatewayError as error:
                if last or exchange.tried or error.code not in WAITING_CODES:
                    raise
                attempts.try_another(exchange, target, error.code, error)
            except Rejected as error:
                if last or exchange.tried or error.status < 502:
                    raise _refusal(error, call, target) from error
                attempts.try_another(exchange, target, str(error.status), None, error.status)
        raise AssertionError("the last attempt returns or raises")

    async def _begun(
        self,
        nursery: trio.Nursery,
        path: str,
        protocols: list[str],
        target: Target,
        exchange: Exchange,
        others: Sequence[Target],
    ) -> EngineSocket:
        attempts = self.gateway.attempts
        endpoint = await attempts.endpoint_of(target, exchange, others)
        return await open_websocket(nursery, endpoint, path, protocols, attempts.deadlines)


def _refusal(error: Rejected, call: Call, target: Target) -> Exception:
    """What a handshake that an engine refused means; its own words are passed on as they are."""
    if error.status in {404, 405, 501}:
        return unsupported(call.model, call.operation, target.engine)
    if 300 <= error.status < 400:
        return redirected(target.owner, error.status)
    return error
