"""A model server's streamed reply that goes through the guardrails of its model before anybody else reads it.

It stands where the reply itself would: a relay reads from it and does not know. So models without guardrails pay
nothing, and every dialect that is made of chat chunks is guarded alike.
"""

from collections.abc import Awaitable, Callable

import trio

from appliance.domain.http import Headers
from appliance.errors import GatewayError
from appliance.gateway.accounting import Exchange
from appliance.gateway.engine_reply import EngineReply
from appliance.gateway.guarded_events import GuardedEvents
from appliance.gateway.guarded_stream import GuardedStream
from appliance.guardrails.verdict import Block
from appliance.sse import Splitter

Judge = Callable[[str], Awaitable[Block | None]]


class GuardedReply:
    """The reply; the same methods.

    Args:
        inner: the model server's own.
        stream: looks through its events.
        exchange: is told how many content chunks were held back or joined.
        refusal: the error for a block.
        judge: asked about all of the answer so far, from time to time; None asks nobody.
        window: characters that have to come before it is asked again.
        holds: what it has not judged yet stays here; else it only looks.
        settle: called once, when no more of the answer will be looked at, with the seconds that looking took.
    """

    def __init__(
        self,
        inner: EngineReply,
        stream: GuardedStream | GuardedEvents,
        exchange: Exchange,
        *,
        refusal: Callable[[Block], GatewayError],
        judge: Judge | None = None,
        window: int = 0,
        holds: bool = False,
        settle: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.status: int = inner.status
        self.headers: Headers = inner.headers
        self._inner = inner
        self._stream = stream
        self._exchange = exchange
        self._refusal = refusal
        self._judge = judge
        self._window = window
        self._holds = holds
        self._settle: Callable[[float], None] | None = settle
        self._clock = exchange.accounts.clock
        self._spent = 0.0
        self._splitter = Splitter()
        self._held: list[bytes] = []
        self._judged = 0  # characters
        self._over = False  # the body of the inner one
        self._blocked: Block | None = None
        self._asking: trio.CancelScope | None = None

    @property
    def ended(self) -> bool:
        """The body has arrived whole and nothing is held."""
        return self._inner.ended and not self._held

    async def receive(self) -> bytes:
        """The next bytes that may be read; b"" at the end.

        Raises:
            GatewayError: a guardrail lets nothing more through, or a guard model cannot be asked.
            UpstreamError: of the inner one.
        """
        while self._blocked is None and not self._over:
            data = await self._inner.receive()
            out = self._passed(data)
            if self._judge is not None:
                out = await self._after_judgement(out, self._judge)
            if out:
                return out
        self._done()
        if self._blocked is not None:
            raise self._refusal(self._blocked)
        return b""

    async def pump(self, taken: Callable[[bytes], bool]) -> None:
        """Give bytes to `taken` as they arrive; nothing where somebody has to be asked in between."""
        if self._judge is not None or self._over or self._blocked is not None:
            return

        def passed(data: bytes) -> bool:
            out = self._passed(data)
            return (not out or taken(out)) and self._blocked is None

        await self._inner.pump(passed)

    def interrupt(self) -> None:
        """Whoever waits for the body, or for a guard model's answer, gets an error instead."""
        self._inner.interrupt()
        if self._asking is not None:
            self._asking.cancel()

    async def read(self, limit: int) -> bytes:
        """The body as it is: whole answers are looked through elsewhere."""
        return await self._inner.read(limit)

    async def aclose(self) -> None:
        """Let go of the connection."""
        self._done()
        await self._inner.aclose()

    def _passed(self, data: bytes) -> bytes:
        stream, began = self._stream, self._clock()
        if data:
            run = self._splitter.feed(data)
            out = stream.feed(run) if run else b""
        else:
            self._over = True
            out = stream.finish()
            if self._splitter.pending:
                out += b"data: "  # half an event: whoever reads on finds that there is no end
        self._exchange.swallowed = stream.swallowed
        self._blocked = stream.block
        self._spent += self._clock() - began
        return out

    async def _after_judgement(self, out: bytes, judge: Judge) -> bytes:
        """What may leave when all that has come was judged; b"" while it waits."""
        stream = self._stream
        if self._holds:
            self._held.append(out)
            out = b""
        last = self._over or stream.done
        fresh = stream.heard - self._judged
        if self._blocked is not None:
            self._held.clear()  # what was not judged yet goes nowhere
        elif fresh and (last or (self._holds and fresh >= self._window)):
            self._judged = stream.heard
            with trio.CancelScope() as self._asking:
                self._blocked = await judge("\n\n".join("".join(texts) for texts in stream.said.values()))
            if self._asking.cancelled_caught or self._blocked is not None:
                self._over = True
                self._held.clear()
                return b""
        elif fresh and self._holds:
            return b""
        out += b"".join(self._held)
        self._held.clear()
        return out

    def _done(self) -> None:
        settle, self._settle = self._settle, None
        if settle is not None:
            settle(self._spent)
