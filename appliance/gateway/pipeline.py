"""The story of a request, top to bottom."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import trio

from appliance.access.keys import Caller
from appliance.access.policy import may_use
from appliance.config.schema import Backend, Guardrail, Model, Runtime
from appliance.domain.calls import Call, Grammar, Operation
from appliance.domain.engines import ENGINES
from appliance.domain.http import Headers, Reply
from appliance.domain.providers import Byok
from appliance.domain.targets import Endpoint, Target
from appliance.errors import GatewayError
from appliance.fleet.table import Fleet, FleetTable
from appliance.gateway.accounting import Exchange
from appliance.gateway.attempts import Attempts, read_all
from appliance.gateway.counting import count_tokens
from appliance.gateway.early import EarlyStream
from appliance.gateway.engine_reply import EngineReply, is_of, refuse_half_an_answer
from appliance.gateway.fitting import fitting, may_leave
from appliance.gateway.guarding import Conversation, Guarding, conversation_body, words_of
from appliance.gateway.opaque import OpaqueBytes, OpaqueEvents
from appliance.gateway.relay import Relay
from appliance.gateway.responses import ResponsesRelay
from appliance.gateway.served import served_by
from appliance.gateway.translated import messages_relay, translated
from appliance.guardrails.rules import Guardrails, Guards
from appliance.limits.estimate import input_estimate, output_allowed
from appliance.limits.ledger import Ledger
from appliance.parameters.check import ParameterRules
from appliance.routing.catalogue import Catalogue, PublicModel
from appliance.routing.clouds import Clouds
from appliance.routing.pick import candidates
from appliance.wire.affinity import affinity_of
from appliance.wire.reply import examine, usage_in
from appliance.wire.response_filler import filled_body
from appliance.wire.trace import SAMPLED

_LARGEST_REPLY = 256 * 2**20  # bytes; 2,048 embeddings of 4,096 floats as text are about 180 MB
_STREAM: Headers = [
    ("content-type", "text/event-stream"),
    ("cache-control", "no-cache"),
    ("x-accel-buffering", "no"),
]
_PASSED_ON = {"content-type", "retry-after", "retry-after-ms", "openai-processing-ms"}


class Interruptible(Protocol):
    """An answer under way."""

    def interrupt(self, error: GatewayError) -> None:
        """End it with an error, now."""
        ...


@dataclass(slots=True)
class Gateway:
    """Answers calls. One for the whole process.

    Attributes:
        guardrails: of the configuration in effect.
        draining: set when the server is going away; new calls are refused.
        interruption: why what is under way was ended, once that has happened.
    """

    catalogue: Catalogue
    fleet: FleetTable
    attempts: Attempts
    ledger: Ledger
    guardrails: Guardrails = field(default_factory=Guardrails)
    parameters: ParameterRules = field(default_factory=ParameterRules)
    draining: bool = False
    interruption: GatewayError | None = None
    _guarding: Guarding = field(init=False)
    _relays: set[Interruptible] = field(default_factory=set)
    _fleet: Fleet = field(default_factory=Fleet)  # what `_choices` were made from
    _choices: dict[tuple[str, Operation], tuple[PublicModel, list[Target]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._guarding = Guarding(self.attempts.metrics, self._ask_guard)

    async def answer(
        self, call: Call, caller: Caller, exchange: Exchange, sent: Headers, byok: Byok | None = None
    ) -> Reply:
        """The reply to one call; a streamed one is settled when its stream is closed.

        Args:
            call: the request.
            caller: whose it is.
            exchange: its account.
            sent: its headers.
            byok: the provider that it is for, where the caller brings a key of its own.

        Raises:
            GatewayError: an error that we answer with; the account is not settled yet.
        """
        if not call.model and byok is None:
            call = replace(call, model=self._default())
        model, targets = self._taken_on(call, caller, exchange, byok)
        guards = self.guardrails.of(model.name)
        if guards is not None:
            exchange.in_chat = bool(guards.outputs)
            if not self._guarding.clear(call, guards):
                call = await self._guarding.checked(call, guards, exchange)
                model, targets = self._choice(call, caller, byok)  # that may have taken a while
        if targets is None:
            targets = candidates(model, call.operation, self._fleet)
            self._choices[call.model, call.operation] = model, targets
        if model.overrides is not None:
            call = model.overrides.applied(call)
        if model.by_prefix:
            exchange.affinity = affinity_of(call, sent)
        targets = self._worth_trying(call, model, targets, exchange)
        if call.stream and self._waits_aloud(call, targets[0]):
            return self._early(call, model, targets, guards, exchange)
        return await self._answered(call, targets, guards, exchange)

    def session(self, call: Call, caller: Caller, exchange: Exchange) -> list[Target]:
        """The targets for a session, best first; nothing looks into what is said in one.

        Raises:
            GatewayError: the caller may not have it, or nobody can give it.
        """
        model, targets = self._taken_on(call, caller, exchange)
        if self.guardrails.of(model.name) is not None:
            words = f"Model {model.name!r} has guardrails, and those cannot look into a session. Choose another model."
            raise GatewayError("unsupported", words, param="model")
        return self._worth_trying(call, model, targets or candidates(model, call.operation, self._fleet), exchange)

    def _taken_on(
        self, call: Call, caller: Caller, exchange: Exchange, byok: Byok | None = None
    ) -> tuple[PublicModel, list[Target] | None]:
        """As `_choice`; from here on it counts for the model, and on the account of the key."""
        model, targets = self._choice(call, caller, byok)
        exchange.model_known(model.name)
        exchange.stream, exchange.stays = call.stream, caller.local_only
        exchange.sole = len(model.targets) == 1
        if self.draining:
            raise GatewayError(
                "draining", "The server is shutting down and takes no new requests. Try again soon.", retry_after=5
            )
        if call.watched is not None:
            self._check_fields(call.watched, model, exchange)
        exchange.input_estimate = tokens = input_estimate(call)
        tokens += output_allowed(call)
        exchange.permit = self.ledger.admit(exchange.key, model.name, tokens, exchange.accounts.clock())
        return model, targets

    def _check_fields(self, watched: Mapping[str, bytes], model: PublicModel, exchange: Exchange) -> None:
        """Refuse what could hurt an engine; what goes to a provider only is the provider's own affair."""
        engines = {target.engine for target in model.targets if target.kind != "provider"}
        if engines:
            self.parameters.check(watched, exchange.key, engines)

    def _worth_trying(self, call: Call, model: PublicModel, targets: list[Target], exchange: Exchange) -> list[Target]:
        """Those that may get this call; raises where there is none."""
        if exchange.stays or call.foreign is not None:
            targets = fitting(targets, call, model.name, exchange)
        panel = self.attempts.outcomes.panel
        return self._in_order(model, targets, exchange) if panel.tripped or panel.unsure else targets

    def _in_order(self, model: PublicModel, targets: list[Target], exchange: Exchange) -> list[Target]:
        """The targets without those whose circuit is open; raises `circuit_open`."""
        others = len(model.targets) - len(targets)
        return self.attempts.outcomes.panel.order(model.name, targets, others, exchange.accounts.clock())

    async def _answered(self, call: Call, targets: list[Target], guards: Guards | None, exchange: Exchange) -> Reply:
        upstream = await self.attempts.first_reply(call, targets, exchange)
        if call.operation is Operation.COUNT_TOKENS:
            return await self._counted(call, targets, upstream, exchange)
        if upstream.status == 200 and is_of(upstream, "text/event-stream"):
            if guards is not None:
                upstream = self._guarding.watched(upstream, call, guards, exchange)
            return await self._streamed(call, upstream, exchange)
        if upstream.status == 200 and _is_sound(call, upstream) and not self._guarding.looks_at(call, guards):
            return await self._streamed(call, upstream, exchange)
        return await self._whole(call, upstream, guards, exchange)

    async def _ask_guard(self, guard: Guardrail, conversation: Conversation, parent: Exchange) -> str:
        """What a guard model says. It is an exchange of its own, on the account of the key that asked.

        Its own model's guardrails do not look at it: so no guardrail can wait for itself.

        Raises:
            GatewayError: it cannot be asked, or took too long.
        """
        exchange = parent.accounts.open(Operation.CHAT, parent.peer, parent.request_id)
        exchange.key, exchange.stays = parent.key, parent.stays
        exchange.trace = parent.trace or (parent.internal_id, SAMPLED)
        exchange.inside = parent.place is not None  # or both might wait for one slot for ever
        exchange.arrived = exchange.started
        call = Call(Operation.CHAT, guard.model, conversation_body(guard, conversation))
        with trio.move_on_after(guard.timeout) as deadline:
            try:
                return await self._guard_said(call, exchange)
            except GatewayError as error:
                exchange.failed(error)
                raise
            except BaseException:  # cancelled, alone or in a group
                if not deadline.cancel_called:
                    exchange.cancelled(self.interruption)
                raise
            finally:
                if parent.asked is None:
                    parent.waited += parent.accounts.clock() - exchange.started
        late = GatewayError("guardrail_unavailable", f"no answer within {guard.timeout:g} s")
        exchange.failed(late)
        raise late

    async def _guard_said(self, call: Call, exchange: Exchange) -> str:
        fleet = self.fleet.snapshot()
        model = self.catalogue.resolve(call.model, fleet)
        if model is None:
            raise GatewayError("model_not_found", f"No active model is called {call.model!r}.")
        exchange.model_known(model.name)
        exchange.sole = len(model.targets) == 1
        exchange.input_estimate = input_estimate(call)
        targets = candidates(model, call.operation, fleet)
        targets = self._in_order(model, fitting(targets, call, model.name, exchange), exchange)
        if model.overrides is not None:
            call = model.overrides.applied(call)
        upstream = await self.attempts.first_reply(call, targets, exchange)
        reply = await self._whole(call, upstream, None, exchange)
        if reply.status != 200 or not isinstance(reply.body, bytes):
            raise GatewayError("upstream_protocol", f"The guard model answered with status {reply.status}.")
        return words_of(reply.body)

    def change(
        self,
        models: Sequence[Model],
        runtimes: Sequence[Runtime],
        backends: Sequence[tuple[Backend, Endpoint]],
        clouds: Clouds,
        guardrails: Guardrails,
        max_connections: dict[str, int],
    ) -> None:
        """These are the models from now on; exchanges under way go on with what they have."""
        self.guardrails = guardrails
        self.catalogue.change(models, runtimes, backends, clouds)
        self._choices.clear()
        self.attempts.max_connections.clear()
        self.attempts.max_connections.update(max_connections)

    def _default(self) -> str:
        if not self.catalogue.default:
            message = "'model' is required: no model of this server is the default one. GET /v1/models lists them."
            raise GatewayError("missing_required_parameter", message, param="model")
        return self.catalogue.default

    def _choice(self, call: Call, caller: Caller, byok: Byok | None = None) -> tuple[PublicModel, list[Target] | None]:
        """The model, and the targets worth trying if they were chosen since the fleet last changed."""
        if byok is not None:
            may_leave(caller, f"{byok.provider}/{call.model}")
            return self.catalogue.byok(call, caller.name, byok)
        fleet = self.fleet.snapshot()
        if fleet is not self._fleet:
            self._fleet = fleet
            self._choices.clear()
        known = self._choices.get((call.model, call.operation))
        model = known[0] if known else self.catalogue.resolve(call.model, fleet)
        if model is None:
            raise GatewayError(
                "model_not_found",
                f"No active model is called {call.model!r}. GET /v1/models lists those that this key may use.",
                param="model",
            )
        if not may_use(caller, model.name):
            raise GatewayError("model_not_allowed", f"This key may not use model {call.model!r}.", param="model")
        return model, known[1] if known else None

    def _waits_aloud(self, call: Call, target: Target) -> bool:
        """Whether a stream is to begin before its answer does."""
        queues = self.attempts.outcomes.queues
        if not queues.early or target.endpoint is not None or not queues.full(target.owner):
            return False
        return call.foreign is not None or call.operation.grammar is Grammar.CHUNKS

    def _early(
        self, call: Call, model: PublicModel, targets: list[Target], guards: Guards | None, exchange: Exchange
    ) -> Reply:
        async def begun() -> Reply:
            worth_trying = self._worth_trying(call, model, targets, exchange)  # others may be a target's probe by now
            return await self._answered(call, worth_trying, guards, exchange)

        stream = EarlyStream(begun, exchange, self._relays.discard)
        self._relays.add(stream)
        return Reply(200, _STREAM + served_by(exchange), stream)

    async def _streamed(self, call: Call, upstream: EngineReply, exchange: Exchange) -> Reply:
        relay = self._relay(call, upstream, exchange)
        self._relays.add(relay)
        try:
            await relay.prime()
        except BaseException as error:
            if isinstance(error, GatewayError):
                exchange.failed(error)
            with trio.CancelScope(shield=True):  # closing is bounded: it only shuts a socket
                await relay.aclose()
            raise
        headers = _STREAM
        if type(relay) is OpaqueBytes:
            headers = [header for header in upstream.headers if header[0] in _PASSED_ON]
        return Reply(200, headers + served_by(exchange), relay)

    def _relay(self, call: Call, upstream: EngineReply, exchange: Exchange) -> Relay:
        """What carries a streamed answer, by the grammar that it is written in."""
        on_close = self._relays.discard
        if call.foreign is not None:
            return messages_relay(upstream, exchange, on_close=on_close)
        grammar = call.operation.grammar
        if grammar is Grammar.CHUNKS:
            return Relay(upstream, exchange, hide_usage=not call.wants_usage, on_close=on_close)
        if grammar is Grammar.RESPONSES:
            return ResponsesRelay(upstream, exchange, created=int(exchange.accounts.date()), on_close=on_close)
        exchange.stream = True
        kind = OpaqueEvents if is_of(upstream, "text/event-stream") else OpaqueBytes
        return kind(upstream, exchange, on_close=on_close)

    async def _counted(self, call: Call, targets: list[Target], upstream: EngineReply, exchange: Exchange) -> Reply:
        target = next(target for target in targets if target.name == exchange.target)
        status, body = await count_tokens(self.attempts, call, target, upstream, exchange)
        exchange.bytes_out = len(body)
        exchange.done(status, "ok" if status < 400 else "backend_error")
        headers: Headers = [("content-type", "application/json")]
        if status >= 400:
            headers.append(("x-error-source", _source(exchange)))
        return Reply(status, headers + served_by(exchange), body)

    async def _whole(self, call: Call, upstream: EngineReply, guards: Guards | None, exchange: Exchange) -> Reply:
        body = await read_all(upstream, _LARGEST_REPLY, exchange)
        exchange.answered = exchange.accounts.clock()
        status = upstream.status
        headers = [header for header in upstream.headers if header[0] in _PASSED_ON]
        if call.operation is Operation.RESPONSES and status < 300:
            body = filled_body(body, exchange.model, int(exchange.accounts.date()))
        answer = None
        if guards is not None and status < 300:
            answer = self._guarding.clear_answer(body, call, guards)
            if answer is None and self._guarding.looks_at(call, guards):
                body = await self._looked_through(body, call, guards, exchange)
        seen = examine(body, exchange.request_id, answer) if status < 300 and call.foreign is None else None
        if call.foreign is not None:
            headers = [header for header in headers if header[0] != "content-type"]
            headers.append(("content-type", "application/json"))
            body = translated(status, body, exchange)
        elif seen is not None:
            body, usage, exchange.finish = seen
            exchange.usage = usage or exchange.usage
        elif status < 300:
            refuse_half_an_answer(upstream, body, exchange.target)
        if status >= 300:
            headers.append(("x-error-source", _source(exchange)))
            if status == 501 or (status == 500 and ENGINES[exchange.engine].deterministic_500):
                headers.append(("x-should-retry", "false"))
        exchange.bytes_out = len(body)
        exchange.done(status, "ok" if status < 400 else "backend_error")
        return Reply(status, headers + served_by(exchange), body)

    async def _looked_through(self, body: bytes, call: Call, guards: Guards, exchange: Exchange) -> bytes:
        """A whole answer as its client may see it."""
        exchange.usage = usage = usage_in(body) or exchange.usage  # also where it is blocked
        if guards.output_models:  # its engine is done, and others may use the slot while they are asked
            self.attempts.outcomes.queues.free(exchange, usage.input + usage.output or None, exchange.accounts.clock())
        return await self._guarding.whole(body, call, guards, exchange)

    @contextmanager
    def under_way(self, session: Interruptible) -> Iterator[None]:
        """Something that is ended when the server goes away, for as long as the block runs."""
        self._relays.add(session)
        try:
            yield
        finally:
            self._relays.discard(session)

    def interrupt(self, error: GatewayError) -> None:
        """End every stream with an error event. Calls without an answer yet are ended by the doors that carry them."""
        self.interruption = error
        for relay in list(self._relays):
            relay.interrupt(error)


def _source(exchange: Exchange) -> str:
    return "provider" if ENGINES[exchange.engine].cloud else "backend"


def _is_sound(call: Call, upstream: EngineReply) -> bool:
    """Whether a reply is audio, or a transcript as plain text: anything but JSON, where that is possible."""
    operation = call.operation
    return (operation.form or operation is Operation.SPEECH) and not is_of(upstream, "application/json")
