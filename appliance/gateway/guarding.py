"""What the guardrails of a model do to one exchange: the request before it is sent, the answer before it is read."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import trio

from appliance.config.schema import Guardrail
from appliance.domain.calls import Call, Grammar, Operation
from appliance.errors import GatewayError
from appliance.gateway.accounting import Exchange
from appliance.gateway.engine_reply import EngineReply
from appliance.gateway.guarded_events import GuardedEvents
from appliance.gateway.guarded_reply import GuardedReply
from appliance.gateway.guarded_stream import GuardedStream
from appliance.guardrails.answer import UnreadableError, judged
from appliance.guardrails.engines import SHORT
from appliance.guardrails.json_text import JsonText
from appliance.guardrails.parts import Parts
from appliance.guardrails.rules import AT_ONCE, Guards, Side
from appliance.guardrails.scanner import Scanner
from appliance.guardrails.verdict import Block, Finding, blocked
from appliance.guardrails.window import PIECE, Window, pieces
from appliance.observe.families import Cell
from appliance.observe.metrics import Metrics
from appliance.translate.messages_request import parse_count, parse_messages
from appliance.wire.form import prompt_of, with_prompt
from appliance.wire.run_together import Answer, answer_together, is_odd, makes_calls, ordinary_answer, run_together
from appliance.wire.texts import (
    Text,
    answer_object,
    answer_texts,
    as_read,
    reply_texts,
    request_object,
    request_texts,
    wants_json,
)

_LOG = logging.getLogger("appliance.guardrails")
_TALKS = {Operation.CHAT, Operation.MESSAGES}  # whose requests often have no odd member; those of others always do
_CHATS = {Operation.CHAT, Operation.COMPLETION, Operation.MESSAGES}
_HEARS = {Operation.TRANSCRIPTION, Operation.TRANSLATION}
_WRITES = {*_CHATS, *_HEARS, Operation.RESPONSES}  # whose answers are texts
_CONTEXT = 8_000  # characters of a request, its end, that a guard model is shown with the answer
_QUICKER = 32  # times, where nothing looks like a match
_RETRY = 5  # seconds
_MOST_GUARDS = 1_000  # that are remembered, those of configurations gone by included
_LONGEST_ANSWER = 512  # tokens of a guard model; some think before they say a word
Conversation = list[dict[str, str]]
Ask = Callable[[Guardrail, Conversation, Exchange], Awaitable[str]]
Found = dict[Finding, int]


@dataclass(frozen=True, slots=True)
class Guarding:
    """Looks at texts, and settles what comes of it.

    Attributes:
        ask: puts a conversation to a guardrail's guard model and gives its answer; raises GatewayError.
    """

    metrics: Metrics
    ask: Ask
    _passed: dict[Side, dict[Guards, Cell]] = field(default_factory=lambda: {"input": {}, "output": {}})

    def clear(self, call: Call, guards: Guards) -> bool:
        """Whether a request has certainly nothing that a guardrail of its model could find, as one look at it shows.

        True settles it, and the call may go on as it is. False says nothing: `checked` has to look closer.
        """
        if not guards.inputs:
            return True
        if len(call.body) > guards.clear_below or call.operation.form:
            return False
        run = run_together(call.body)
        if run is None:
            return False
        scanner = guards.input
        look = None if scanner is None or call.operation not in _TALKS else scanner.within_or_odd
        if (look is None or (look.short if len(run) <= SHORT else look.long)(run)) and (
            is_odd(call.body, run) or (scanner is not None and scanner.within.suspects(run))
        ):
            return False
        passed = self._passed["input"].get(guards) or self._passes(guards, "input")
        passed.value += 1
        return True

    def clear_answer(self, body: bytes, call: Call, guards: Guards) -> Answer | None:
        """The same for a whole answer that has just come: what it says, where it is clear; `whole` looks closer."""
        scanner = guards.output
        if scanner is None or guards.output_models or call.operation not in _CHATS or len(body) > AT_ONCE:
            return None
        answer = ordinary_answer(body)
        if answer is None:
            return None
        run, look = answer_together(answer), scanner.within
        if (look.short if len(run) <= SHORT else look.long)(run):
            return None
        if "\\" in run and (makes_calls(answer) or _wants_json(call)):
            return None  # in a text that is JSON, escapes of its own hide what they stand for
        passed = self._passed["output"].get(guards) or self._passes(guards, "output")
        passed.value += 1
        return answer

    def _passes(self, guards: Guards, side: Side) -> Cell:
        """Where it is counted that they found nothing."""
        known = self._passed[side]
        if len(known) >= _MOST_GUARDS:
            known.clear()
        found = known[guards] = self.metrics.passed(guards.inputs if side == "input" else guards.outputs, side)
        return found

    async def checked(self, call: Call, guards: Guards, exchange: Exchange) -> Call:
        """The call as its model may see it.

        Raises:
            GatewayError: `guardrail_block`, `guardrail_unavailable`, or `invalid_payload` where there is no text that
                could be looked at.
        """
        clock, started = exchange.accounts.clock, exchange.accounts.clock()
        request, texts = _request(call)
        found: Found = dict.fromkeys(guards.too_long(sum(len(text.value) for text in texts)), 1)
        if guards.input is not None and blocked(list(found)) is None:
            await _look(texts, guards.input, found)
            self.metrics.guardrail_took("text", "input", clock() - started)
        block = blocked(list(found))
        failed: list[str] = []
        try:
            if block is None and guards.input_models and call.operation is not Operation.COUNT_TOKENS:
                asked: Conversation = [{"role": "user", "content": _joined(texts)}]
                block = await self._ask_all(guards.input_models, asked, exchange, "input", found, failed)
        except GatewayError:
            self._settle(guards.inputs, "input", found, failed, exchange)
            raise
        self._settle(guards.inputs, "input", found, failed, exchange)
        if block is not None:
            raise refusal(block)
        if guards.only_flags:
            return call
        return _rewritten(call, request)  # what was looked at is what is sent, and nothing beside it

    def watched(self, upstream: EngineReply, call: Call, guards: Guards, exchange: Exchange) -> EngineReply:
        """A streamed reply that is looked through as it is read."""
        if not self.looks_at(call, guards):
            return upstream
        models = guards.output_models
        kind = GuardedStream if call.operation.grammar is Grammar.CHUNKS else GuardedEvents
        stream = kind(guards.output, json_content=_wants_json(call), listen=bool(models))
        failed: list[str] = []
        found: Found = {}

        async def judge(answer: str) -> Block | None:
            found.clear()  # it sees all of the answer each time
            return await self._ask_all(models, _about(call, answer), exchange, "output", found, failed)

        def settle(seconds: float) -> None:
            if guards.output is not None:
                self.metrics.guardrail_took("text", "output", seconds)
            self._settle(guards.outputs, "output", stream.findings | found, failed, exchange)

        return GuardedReply(
            upstream,
            stream,
            exchange,
            refusal=refusal,
            judge=judge if models else None,
            window=min((guard.window for guard in models), default=0),
            holds=any(guard.action == "block" for guard in models),
            settle=settle,
        )

    def looks_at(self, call: Call, guards: Guards | None) -> bool:
        """Whether the answer to a call is one that guardrails look at."""
        return guards is not None and bool(guards.outputs) and call.operation in _WRITES

    async def whole(self, body: bytes, call: Call, guards: Guards, exchange: Exchange) -> bytes:
        """A whole answer as its client may see it.

        Raises:
            GatewayError: `guardrail_block` or `guardrail_unavailable`; `upstream_protocol` for an answer that cannot be
                looked at.
        """
        if not self.looks_at(call, guards):
            return body
        if exchange.lease is not None:
            exchange.lease.release()  # its engine is done
        clock, started = exchange.accounts.clock, exchange.accounts.clock()
        answer, texts = _answer(body, call, exchange)
        found: Found = {}
        failed: list[str] = []
        if guards.output is not None:
            await _look(texts, guards.output, found)
            self.metrics.guardrail_took("text", "output", clock() - started)
        block = blocked(list(found))
        try:
            if block is None and guards.output_models:
                conversation = _about(call, _joined(texts))
                block = await self._ask_all(guards.output_models, conversation, exchange, "output", found, failed)
                exchange.answered = clock()
        except GatewayError:
            self._settle(guards.outputs, "output", found, failed, exchange)
            raise
        self._settle(guards.outputs, "output", found, failed, exchange)
        if block is not None:
            raise refusal(block)
        if guards.output is None or guards.output.only_looks:
            return body
        return msgspec.json.encode(answer) if isinstance(answer, dict) else answer[0].encode()

    async def _ask_all(
        self,
        models: Sequence[Guardrail],
        conversation: Conversation,
        exchange: Exchange,
        side: Side,
        found: Found,
        failed: list[str],
    ) -> Block | None:
        """Ask one guard model after the other, up to the first that blocks."""
        if not conversation[-1]["content"]:
            return None
        for guard in models:
            started = exchange.accounts.clock()
            try:
                findings = judged(await self.ask(guard, conversation, exchange), guard)
            except (GatewayError, UnreadableError) as error:
                failed.append(guard.name)
                _LOG.warning("guardrail %r has no answer from its model %r: %s", guard.name, guard.model, error)
                if guard.on_failure == "block":
                    raise _unavailable(guard) from error
                continue
            finally:
                self.metrics.guardrail_took(guard.name, side, exchange.accounts.clock() - started)
            found.update(dict.fromkeys(findings, 1))
            if block := blocked(findings):
                return block
        return None

    def _settle(self, names: Sequence[str], side: Side, found: Found, failed: list[str], exchange: Exchange) -> None:
        """Count what every guardrail of one side did, and note it for the log."""
        acted = {finding.guardrail: finding.action for finding in found}
        for name in names:
            self.metrics.guardrail_looked(name, side, acted.get(name) or ("error" if name in failed else "pass"))
        for finding, times in found.items():
            self.metrics.guardrail_found(finding.guardrail, side, finding.category, times)
        if found:
            exchange.findings = {**(exchange.findings or {}), **found}


def refusal(block: Block) -> GatewayError:
    """The error for a text that may not pass; it says what kind of thing was found, and never repeats it."""
    return GatewayError(
        "guardrail_block",
        "Content blocked by guardrail",
        extras={
            "guardrail_key": block.guardrail,
            "action": "block",
            "findings": [finding.shown() for finding in block.findings],
        },
    )


def _unavailable(guard: Guardrail) -> GatewayError:
    return GatewayError(
        "guardrail_unavailable",
        f"The guardrail {guard.name!r} got no answer from its guard model that it could read, and lets nothing pass "
        "unchecked. Try again; if it stays so, the server's owner has to look after that model.",
        retry_after=_RETRY,
    )


async def _look(texts: Sequence[Text], scanner: Scanner, found: Found) -> None:
    """Look at texts and put others in their place where that is what a guardrail does; others have their turns."""
    since = 0
    for text, *others in as_read(texts):
        value = text.value
        since += len(value) // _QUICKER + 8
        if since >= PIECE:
            since = 0
            await trio.lowlevel.checkpoint()
        if others:
            if await _look_at_parts([text, *others], scanner, found):
                return
            continue
        if not text.json and len(value) <= AT_ONCE and not scanner.suspects(value):
            continue
        before = _redactions(found)
        window = JsonText(scanner, found) if text.json else Window(scanner, found)
        out = []
        for piece in pieces(value):
            out.append(window.feed(piece))
            since += len(piece)
            if since >= PIECE:
                since = 0
                await trio.lowlevel.checkpoint()
        out.append(window.finish())
        if window.block is not None:
            return
        if _redactions(found) > before:
            text.replace("".join(out))


async def _look_at_parts(texts: Sequence[Text], scanner: Scanner, found: Found) -> bool:
    """The same for texts that reach the model as one; whether they are blocked."""
    values = [text.value for text in texts]
    parts = Parts(scanner, values, found)
    for _ in parts.look():
        await trio.lowlevel.checkpoint()
    if parts.block is not None:
        return True
    for text, before, after in zip(texts, values, parts.texts(), strict=True):
        if after != before:
            text.replace(after)
    return False


def _redactions(found: Found) -> int:
    return sum(times for finding, times in found.items() if finding.action == "redact")


def _request(call: Call) -> tuple[dict[str, Any], list[Text]]:
    """The members of a request and its texts."""
    if call.operation.form:
        request = {"prompt": prompt_of(call.body, call.content_type)}
        return request, [Text(request, "prompt")]
    request = request_object(call.body)
    return request, request_texts(request)


def _rewritten(call: Call, request: dict[str, Any]) -> Call:
    if call.operation.form:
        return replace(call, body=with_prompt(call.body, call.content_type, request["prompt"]))
    body = msgspec.json.encode(request)
    match call.operation:
        case Operation.MESSAGES:
            return replace(parse_messages(body), model=call.model)
        case Operation.COUNT_TOKENS:
            return replace(parse_count(body), model=call.model)
        case _:
            return replace(call, body=body)


def _answer(body: bytes, call: Call, exchange: Exchange) -> tuple[dict[str, Any] | list[str], list[Text]]:
    """A whole answer, and its texts; a transcript may be a plain text."""
    answer = answer_object(body)
    if answer is None and call.operation in _HEARS:
        plain = [body.decode("utf-8", "replace")]
        return plain, [Text(plain, 0)]
    if answer is None:
        message = f"The answer of the model server {exchange.target!r} is not JSON, so no guardrail can look at it."
        raise GatewayError("upstream_protocol", message)
    if call.operation in _CHATS:
        return answer, answer_texts(answer, json_content=_wants_json(call))
    return answer, reply_texts(answer)


def _wants_json(call: Call) -> bool:
    return not call.operation.form and wants_json(call.body)


def _about(call: Call, answer: str) -> Conversation:
    """The answer and the end of what was asked, as a guard model reads them."""
    try:
        asked = _joined(_request(call)[1])[-_CONTEXT:]
    except GatewayError:  # numbers of tokens
        asked = ""
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


def _joined(texts: Sequence[Text]) -> str:
    return "\n\n".join(text.value for text in texts)


def conversation_body(guard: Guardrail, conversation: Conversation) -> bytes:
    """The chat request that asks a guard model."""
    first = [{"role": "system", "content": guard.instructions}] if guard.instructions else []
    body: dict[str, Any] = {"model": guard.model, "messages": [*first, *conversation], "temperature": 0}
    return msgspec.json.encode(body | {"max_tokens": _LONGEST_ANSWER})


def words_of(body: bytes) -> str:
    """What a guard model said, of its chat answer; "" when it is none."""
    answer = answer_object(body) or {}
    texts = answer_texts(answer, json_content=False)
    return next((text.value for text in texts if text.key == "content"), "")
