"""One account per exchange, settled exactly once: metrics and the log line, also when the client leaves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from appliance.domain.calls import Operation, Usage
from appliance.domain.http import Reply
from appliance.domain.targets import Lease, Target
from appliance.errors import GatewayError
from appliance.guardrails.verdict import Finding, told
from appliance.limits.account import Permit
from appliance.observe.log import ExchangeRecord
from appliance.observe.metrics import Metrics
from appliance.queueing.line import Ticket
from appliance.upstream.gaps import Gaps

UNKNOWN_MODEL = "_unknown"  # a name that a client made up is never a label
_NOTHING_USED = Usage()
_REACHED = ("first_byte", "streaming")
_NEVER_REACHED = {"backend_unreachable", "no_healthy_backend"}
_ENGINE_WORKED = {"backend_timeout", "backend_died", "stream_truncated"}  # it read the prompt at least
_OF_A_GUARDRAIL = {"guardrail_block", "guardrail_unavailable"}  # in front of the engine or behind it
Phase = Literal["request", "loading", "queued", "first_byte", "streaming"]


class Ends(Protocol):
    """Who has to know how an attempt ended; see `gateway.outcomes`."""

    def ended(self, exchange: "Exchange", outcome: str, status: int, code: str, now: float) -> None:
        """It ended; the exchange still has what it held."""
        ...


class Answer(Protocol):
    """A streamed answer under way."""

    @property
    def tokens(self) -> int:
        """Pieces of content that it has had so far."""
        ...

    def interrupt(self, error: GatewayError) -> None:
        """End it with an error, now."""
        ...


@dataclass(slots=True)
class Exchange:
    """What is known about one exchange so far.

    Attributes:
        phase: what the exchange is waiting for; says when a client left.
        model: public name, once it is known to exist.
        request_id: the id the client sees.
        internal_id: ours, unique; what an engine sees.
        input_estimate: tokens of its input by our own guess, for where the engine never says.
        permit: what it was admitted with, where its key or model has limits.
        lease: the replica that it uses; given back when it is settled.
        arrived: when the whole request was here.
        asked: when an engine was asked last.
        waited: seconds until then in which others were waited for: a model that loads, a guard model, a failed attempt.
        answered: when the whole answer was here, where it is no stream.
        finish: why the answer ended, in the engine's word; "" while it has not.
        ended: why its answer was ended by us, once that has happened.
        answer: what is streamed to the client; told when that happens.
        interrupt: gives the client this reply in place of the answer, while that has not begun.
        ordered: why somebody who may has ended it, once that has happened.
        affinity: what it shares with requests that should go to the same replica; empty where that does not matter.
        aim: the target of the present attempt.
        tried: attempts that have come to nothing.
        sole: its model has no other target than the one that it goes to.
        trace: the client's trace and its flags; None where it has none, and ours begins.
        place: its slot of a runtime that has a line.
        queued: seconds in line so far.
        inside: it belongs to another one that has a slot and waits for it, so it waits for nothing itself.
        content: what its engine was asked, while that may crash.
        trial: digest of that, while it is let in as the one suspect of a crash.
        swallowed: content chunks that a guardrail held back or joined to others, less those that it made.
        findings: what guardrails found, and how often; None where none looked closely.
        stays: nothing of it may leave the box.
        in_chat: its answer has to be in chat terms on the way, because guardrails look at it.
        gaps: the pauses of the answer that it gets from an engine; None while there is none.
        dialect_headers: what the client said about the version of its API, for the provider whose API that is.
    """

    operation: Operation
    peer: str
    internal_id: str
    request_id: str
    started: float
    accounts: "Accounts"
    key: str = ""
    model: str = UNKNOWN_MODEL
    target: str = ""
    engine: str = ""
    stream: bool = False
    status: int = 0
    phase: Phase = "request"
    usage: Usage = _NOTHING_USED
    first_token: float | None = None
    bytes_out: int = 0
    input_estimate: int = 0
    permit: Permit | None = None
    lease: Lease | None = None
    arrived: float = 0.0
    asked: float | None = None
    answered: float | None = None
    waited: float = 0.0
    finish: str = ""
    settled: bool = False
    ended: GatewayError | None = None
    answer: Answer | None = None
    interrupt: Callable[[Reply], None] | None = None
    ordered: GatewayError | None = None
    affinity: bytes = b""
    aim: Target | None = None
    tried: int = 0
    sole: bool = False
    trace: tuple[str, str] | None = None
    place: Ticket | None = None
    queued: float = 0.0
    inside: bool = False
    content: bytes | str = b""
    trial: bytes | None = None
    swallowed: int = 0
    findings: dict[Finding, int] | None = None
    stays: bool = False
    in_chat: bool = False
    gaps: Gaps | None = None
    dialect_headers: Sequence[tuple[str, str]] = ()

    @property
    def trace_id(self) -> str:
        """Of the trace that it belongs to: the client's, or one of its own."""
        return self.internal_id if self.trace is None else self.trace[0]

    def model_known(self, model: str) -> None:
        """From here on the exchange counts for this model."""
        self.model = model
        self.accounts.metrics.exchange_started(model)

    def hold(self, lease: Lease) -> None:
        """From here on the exchange uses this replica."""
        if self.settled:
            lease.release()
            return
        lease.user = self
        self.lease = lease

    def let_go(self) -> None:
        """The exchange uses no replica any more."""
        lease, self.lease, self.ended = self.lease, None, None
        if lease is not None:
            lease.release()

    def cut(self, error: GatewayError) -> None:
        """Its replica is about to end, and so is the answer."""
        self.ended = error
        if self.answer is not None:
            self.answer.interrupt(error)

    def end(self, error: GatewayError, refusal: Reply) -> bool:
        """Somebody who may wants it to end now, whatever it is waiting for; False where nothing can be done about it.

        Args:
            error: for the account, and for a client that has got a part of its answer.
            refusal: for a client that has got nothing yet.
        """
        if self.settled or (self.answer is None and self.interrupt is None):
            return False
        self.ordered = error
        if self.answer is not None:
            self.answer.interrupt(error)
        elif self.interrupt is not None:
            self.interrupt(refusal)
        return True

    def token_seen(self) -> None:
        """The first content of the answer is on its way to the client."""
        if self.first_token is None:
            self.first_token = self.accounts.clock()
            if self.gaps is not None:
                self.gaps.begin()

    def failed(self, error: GatewayError, *, status: int | None = None) -> None:
        """Settle as an error that we made; `status` when another one was sent before it."""
        self._settle(status or error.row.status, "error", error.code)

    def cancelled(self, interruption: GatewayError | None) -> None:
        """Settle after a cancellation: by who ended it, by a server that goes away, or by a client that did."""
        interruption = self.ordered or interruption
        if interruption is None:
            self.client_left()
        else:
            self.failed(interruption)

    def client_left(self) -> None:
        """Settle as a client that went away; harmless after any other settlement."""
        if not self.settled:
            self.accounts.metrics.client_disconnected(self.model, self.phase)
        self._settle(499, "client_gone", "")

    def done(self, status: int, outcome: Literal["ok", "backend_error"] = "ok") -> None:
        """Settle with the status that the client was sent."""
        self._settle(status, outcome, "")

    def _settle(self, status: int, outcome: str, code: str) -> None:
        if self.settled:
            return
        self.settled = True
        self.answer = self.interrupt = None
        self.accounts.under_way.pop(self.internal_id, None)
        if self.lease is not None:
            self.lease.release()  # it stays known: headers name the replica
        now = self.accounts.clock()
        usage = self.usage
        if not usage.input and self.input_estimate and (usage.output or self._engine_worked(status, outcome, code)):
            self.usage = usage = Usage(self.input_estimate, usage.output, usage.cached, estimated=True)
        if self.aim is not None and self.accounts.ends is not None:
            self.accounts.ends.ended(self, outcome, status, code, now)
        if self.permit is not None:  # it is charged what the ledger of usage gets
            if self.phase in _REACHED and code not in _NEVER_REACHED:
                self.permit.settle(usage.input + usage.output, now)
            else:  # what never reached a model server costs nothing
                self.permit.cancel()
        ttft = None if self.first_token is None else self.first_token - self.started
        gaps = self.gaps if ttft is not None else None
        record = ExchangeRecord(
            request_id=self.request_id,
            trace_id=self.trace_id,
            key=self.key,
            model=self.model,
            operation=str(self.operation),
            target=self.target,
            engine=self.engine,
            status=status,
            outcome=outcome,
            error_code=code,
            stream=self.stream,
            usage=self.usage,
            ttft_s=ttft,
            duration_s=now - self.started,
            bytes_out=self.bytes_out,
            peer=self.peer,
            queued_s=self.queued,
            guardrails=told(self.findings) if self.findings else "",
            upload_s=self.arrived - self.started if self.arrived else 0.0,
            waited_s=self.waited,
            overhead_s=None if self.asked is None else self._overhead(self.asked, now),
            finish=self.finish,
            gap_s=gaps.longest if gaps is not None else 0.0,
            stalls=gaps.stalls if gaps is not None else 0,
        )
        self.accounts.metrics.exchange_ended(record, counted=self.model != UNKNOWN_MODEL)
        self.accounts.log(record)

    def _overhead(self, asked: float, now: float) -> float:
        """Seconds of our own: before an engine was asked, and after a whole answer had come."""
        seconds = asked - (self.arrived or self.started) - self.queued - self.waited
        if self.answered is not None:
            seconds += now - self.answered
        return seconds if seconds > 0 else 0.0  # guard models are waited for side by side

    def _engine_worked(self, status: int, outcome: str, code: str) -> bool:
        if outcome == "client_gone" or code == "cancelled":
            return self.phase in _REACHED
        if code in _OF_A_GUARDRAIL:
            return self.phase in _REACHED
        return status < 300 or code in _ENGINE_WORKED


@dataclass(frozen=True, slots=True)
class Accounts:
    """Opens accounts.

    Attributes:
        clock: monotonic seconds.
        date: Unix seconds.
        new_id: 32 fresh hex digits.
        log: takes the canonical line.
        explain: answers say in their headers how they came about.
        ends: is told how attempts ended.
        under_way: the exchanges that are not settled yet, by our own id; for whoever looks on.
    """

    metrics: Metrics
    clock: Callable[[], float]
    date: Callable[[], float]
    new_id: Callable[[], str]
    log: Callable[[ExchangeRecord], None]
    explain: bool = True
    ends: Ends | None = None
    under_way: dict[str, Exchange] = field(default_factory=dict)

    def open(self, operation: Operation, peer: str, request_id: str | None) -> Exchange:
        """A fresh account; `request_id` is the client's own, if it sent a valid one."""
        internal = self.new_id()
        exchange = Exchange(operation, peer, internal, request_id or f"req_{internal}", self.clock(), self)
        self.under_way[internal] = exchange
        return exchange
