"""At most one extra attempt, before the first byte, and only where trying again is safe.

Safe: no connection, a connection that broke before any reply byte, a replica that is still loading, a backend's own
502, 503 or 504. Never: 4xx, 429, 500 (an engine's 500 is deterministic), a deadline (the engine may still be working).

The extra attempt goes to another target. Where there is none, and nobody could connect to a process of ours, it goes to
the next process, once the supervisor has seen that this one has ended: who comes a moment later waits for that too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import trio

from appliance.breakers.panel import NOTICED
from appliance.domain.calls import Call, Operation
from appliance.domain.engines import ENGINES
from appliance.domain.http import Headers
from appliance.domain.targets import Endpoint, Lease, Runtime, Target
from appliance.errors import (
    ConnectFailed,
    ConnectionLost,
    GatewayError,
    ProtocolViolation,
    UpstreamError,
    UpstreamTimeout,
)
from appliance.fleet.table import FleetTable
from appliance.gateway.accounting import Exchange
from appliance.gateway.engine_reply import EngineReply, ReadAlready
from appliance.gateway.outcomes import Outcomes
from appliance.gateway.provider_leg import ask_provider
from appliance.gateway.trials import remembered
from appliance.observe.metrics import Metrics
from appliance.routing.pick import unsupported
from appliance.upstream.deadlines import Deadlines
from appliance.upstream.upstreams import OutRequest, UpstreamReply, Upstreams
from appliance.wire.no_route import MAY_MEAN_IT, is_no_route
from appliance.wire.outgoing import outgoing_body
from appliance.wire.trace import traceparent

_SENT: Headers = [("content-type", "application/json")]
_ATTEMPTS = 2
# Every engine has the first three; of the last one `counting` makes what it can.
_NEVER_ABSENT = {Operation.CHAT, Operation.COMPLETION, Operation.MESSAGES, Operation.COUNT_TOKENS}
_LARGEST_REFUSAL = 2**20  # bytes of an error reply that we look into
_TRY_ANOTHER = {502, 503, 504}
WAITING_CODES = {
    "model_loading",
    "model_crashed",
    "model_quarantined",
    "model_blocked",
    "queue_full",
    "queue_timeout",
    "circuit_open",
}


@dataclass(frozen=True, slots=True)
class Attempts:
    """What an attempt needs."""

    fleet: FleetTable
    runtime: Runtime
    upstreams: Upstreams
    deadlines: Deadlines
    max_connections: dict[str, int]
    metrics: Metrics
    outcomes: Outcomes

    async def first_reply(self, call: Call, targets: list[Target], exchange: Exchange) -> EngineReply:
        """The head of the first good reply, or of the last one there is.

        Raises:
            GatewayError: nothing that can be passed through came back.
        """
        chosen = targets[:_ATTEMPTS]
        for number, target in enumerate(chosen, 1):
            last = number == len(chosen)
            exchange.target, exchange.engine, exchange.aim = target.name, target.engine, target
            try:
                reply = await self._attempt(call, target, exchange, chosen[number:])
            except UpstreamError as error:
                self.metrics.upstream_failed(target.name, reason_of(error))
                if last or exchange.tried or not _safe_to_repeat(error):
                    raise exchange.ended or in_gateway_terms(error, target.name) from error
                self.try_another(exchange, target, reason_of(error), in_gateway_terms(error, target.name))
                continue
            except GatewayError as error:
                if last or exchange.tried or error.code not in WAITING_CODES:
                    raise
                self.try_another(exchange, target, error.code, error)
                continue
            if reply.status >= 500:
                self.metrics.upstream_failed(target.name, "5xx")
            if reply.status in _TRY_ANOTHER and not (last or exchange.tried):
                await reply.aclose()
                self.try_another(exchange, target, str(reply.status), None, reply.status)
                continue
            return reply
        raise AssertionError("the last attempt returns or raises")

    def try_another(
        self, exchange: Exchange, target: Target, reason: str, error: GatewayError | None, status: int = 0
    ) -> None:
        """The attempt at a target has ended, and another one follows."""
        self.metrics.retried(target.name, reason)
        now = exchange.accounts.clock()
        if error is None:
            self.outcomes.ended(exchange, "backend_error", status, "", now)
        else:
            self.outcomes.ended(exchange, "error", error.row.status, error.code, now)
        self._start_over(exchange, now)
        exchange.aim = None

    @staticmethod
    def _start_over(exchange: Exchange, now: float) -> None:
        exchange.let_go()
        exchange.tried += 1
        if exchange.asked is not None:
            exchange.waited += now - exchange.asked
        exchange.content, exchange.asked = b"", None

    async def next_life(self, target: Target, exchange: Exchange, others: Sequence[Target]) -> bool:
        """Nobody could connect to the target: whether to ask it again, because it was a process that has ended.

        Another target is better, and one extra attempt is all there is.
        """
        lease, clock = exchange.lease, exchange.accounts.clock
        if lease is None or exchange.tried or any(self.outcomes.panel.allows(other, clock()) for other in others):
            return False
        exchange.phase = "loading"  # nothing was sent
        if not await self.runtime.seen_to_end(lease, NOTICED):
            return False
        self.metrics.upstream_failed(target.name, "connect")
        self.metrics.retried(target.name, "connect")
        self._start_over(exchange, clock())  # with its slot
        return True

    async def _attempt(self, call: Call, target: Target, exchange: Exchange, others: Sequence[Target]) -> EngineReply:
        panel = self.outcomes.panel
        if target.name in panel.tripped:
            panel.begin(target.name, exchange.accounts.clock())
        if target.kind == "provider":
            exchange.phase, exchange.asked = "first_byte", exchange.accounts.clock()
            most = self.max_connections.get(target.owner, 256)
            return await ask_provider(self.upstreams, self.deadlines, most, call, target, exchange)
        if call.operation is Operation.MESSAGES and call.foreign is not None:
            body = call.foreign.chat_body(target.engine, target.model or call.model)
        else:
            body = outgoing_body(call, target.model)
        headers = [("content-type", call.content_type)] if call.content_type else _SENT
        while True:
            endpoint = target.endpoint
            if endpoint is None:
                lease = await self._admitted(call.operation, target, body, exchange, others)
                endpoint = lease.endpoint
                exchange.content = remembered(body)
            exchange.phase = "first_byte"
            exchange.asked = exchange.accounts.clock()
            try:
                reply = await self.post(target, endpoint, call.operation.engine_path, body, exchange, headers)
                break
            except ConnectFailed:
                exchange.content = b""  # the engine never saw it, and did not die of it
                if not await self.next_life(target, exchange, others):
                    raise
        try:
            return await self._accepted(reply, call, target)
        except BaseException:
            with trio.CancelScope(shield=True):  # bounded inside: closing only shuts the socket
                await reply.aclose()
            raise

    async def endpoint_of(self, target: Target, exchange: Exchange, others: Sequence[Target]) -> Endpoint:
        """Where a session goes: a runtime is started for it, and its replica and a slot are held.

        Args:
            target: who gives it.
            exchange: its account.
            others: who is tried after it, where nothing comes of this.

        Raises:
            GatewayError: it does not get ready, or its circuit has opened meanwhile.
        """
        panel = self.outcomes.panel
        if target.name in panel.tripped:
            panel.begin(target.name, exchange.accounts.clock())
        endpoint = target.endpoint
        if endpoint is None:
            lease = await self._admitted(exchange.operation, target, b"", exchange, others)
            endpoint = lease.endpoint
        exchange.phase = "first_byte"
        exchange.asked = exchange.accounts.clock()
        return endpoint

    async def _admitted(
        self, operation: Operation, target: Target, body: bytes, exchange: Exchange, others: Sequence[Target]
    ) -> Lease:
        """The use of a ready replica and, where its runtime has a line, of a slot; a suspect waits for its turn.

        Whoever has waited finds the circuit as it is by then.
        """
        runtime, elsewhere = target.owner, bool(others)
        lease = await self._ready(runtime, exchange, elsewhere=elsewhere)
        trials, queues, panel = self.outcomes.trials, self.outcomes.queues, self.outcomes.panel
        tokens = exchange.input_estimate
        while not exchange.inside:
            # Looked at again after every wait: the same request of somebody else may have crashed an engine by then.
            if trials.suspects.any and exchange.trial is None and await trials.turn(runtime, body, exchange):
                lease = await self._ready(runtime, exchange, elsewhere=elsewhere)
                continue
            if (
                exchange.place is not None
                or operation is Operation.COUNT_TOKENS
                or queues.take(runtime, exchange, tokens)
            ):
                break
            exchange.let_go()  # others may need the room while this one waits
            await queues.wait(runtime, exchange, tokens, partial(self._in_vain, target, exchange, others))
            lease = await self._ready(runtime, exchange, elsewhere=elsewhere)
        if target.name in panel.tripped and self._shut_out(exchange, others):
            now = exchange.accounts.clock()
            if not panel.send(target, now):
                raise panel.refusal(exchange.model, target, now)
        return lease

    def _shut_out(self, exchange: Exchange, others: Sequence[Target]) -> bool:
        """A tripped target is left alone if it is the model's only one, or the next one to try is not tripped."""
        return exchange.sole or any(self.outcomes.panel.allows(other, exchange.accounts.clock()) for other in others)

    def _in_vain(self, target: Target, exchange: Exchange, others: Sequence[Target]) -> GatewayError | None:
        """Why it need not stand in line any more."""
        panel, now = self.outcomes.panel, exchange.accounts.clock()
        shut = target.name in panel.tripped and not panel.allows(target, now) and self._shut_out(exchange, others)
        return panel.refusal(exchange.model, target, now) if shut else None

    async def _ready(self, runtime: str, exchange: Exchange, *, elsewhere: bool) -> Lease:
        exchange.phase = "loading"
        clock = exchange.accounts.clock
        before = clock()
        try:
            lease = await self.runtime.ensure_ready(runtime, exchange.affinity, elsewhere=elsewhere)
        finally:
            exchange.waited += clock() - before
        exchange.hold(lease)
        return lease

    async def post(
        self,
        target: Target,
        endpoint: Endpoint,
        path: str,
        body: bytes,
        exchange: Exchange,
        headers: Headers = _SENT,
    ) -> UpstreamReply:
        """Ask one target; whoever gets the reply closes it.

        Raises:
            UpstreamError: no reply came.
        """
        own = exchange.internal_id
        request = OutRequest("POST", path, headers, body, own, traceparent(own, exchange.trace))
        reply = await self.upstreams.send(
            endpoint,
            request,
            self.deadlines,
            max_connections=self.max_connections.get(target.owner, 256),
            idle_close=ENGINES[target.engine].idle_close,
            name=target.owner,
        )
        exchange.gaps = reply.gaps
        return reply

    async def _accepted(self, reply: UpstreamReply, call: Call, target: Target) -> EngineReply:
        """The reply, unless it is one that must not reach a client as it is."""
        if 300 <= reply.status < 400:
            raise redirected(target.owner, reply.status)
        if reply.status in MAY_MEAN_IT and call.operation not in _NEVER_ABSENT:
            body = await reply.read(_LARGEST_REFUSAL)
            if not is_no_route(reply.status, body):
                return ReadAlready(reply.status, reply.headers, body)
            if target.kind == "backend":
                self.fleet.learn_cannot(target.owner, call.operation)
            raise unsupported(call.model, call.operation, target.engine)
        return reply


async def read_all(upstream: EngineReply, limit: int, exchange: Exchange) -> bytes:
    """The whole body of a reply, which is closed afterwards.

    Raises:
        GatewayError: it did not arrive.
    """
    try:
        return await upstream.read(limit)
    except UpstreamError as error:
        raise exchange.ended or in_gateway_terms(error, exchange.target) from error
    finally:
        if not upstream.ended:
            with trio.CancelScope(shield=True):  # closing is bounded: it only shuts a socket
                await upstream.aclose()


def _safe_to_repeat(error: UpstreamError) -> bool:
    return isinstance(error, ConnectFailed) or (isinstance(error, ConnectionLost) and error.before_reply)


def reason_of(error: UpstreamError) -> str:
    """What went wrong, as a label."""
    match error:
        case ConnectFailed():
            return "connect"
        case ConnectionLost():
            return "reset"
        case UpstreamTimeout():
            return "timeout"
        case _:
            return "protocol"


def in_gateway_terms(error: UpstreamError, target: str) -> GatewayError:
    """What a client is told when a target failed; `target` is a configured name, safe to show."""
    match error:
        case UpstreamTimeout():
            return GatewayError(
                "backend_timeout",
                f"The model server {target!r} gave {error}. It may still be working; a shorter request may help.",
            )
        case ProtocolViolation():
            return GatewayError("upstream_protocol", f"The model server {target!r} broke the protocol: {error}.")
        case ConnectionLost() if not error.before_reply:
            return GatewayError(
                "backend_died", f"The model server {target!r} broke the connection while it was answering. Try again."
            )
        case _:
            return GatewayError(
                "backend_unreachable", f"The model server {target!r} cannot be reached: {error}. Try again."
            )


def redirected(owner: str, status: int) -> GatewayError:
    """A model server answered with a redirect."""
    return GatewayError(
        "redirect_refused",
        f"The model server {owner!r} answered with a redirect ({status}), which is never followed: prompts go only "
        "where the configuration says. Its owner has to correct the URL.",
    )
