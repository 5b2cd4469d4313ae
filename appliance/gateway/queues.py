"""Waiting for a slot: the lines of all runtimes whose number of slots is known.

Others have no line of ours: vLLM without `slots` and backends take what comes, and say so themselves when it is too
much.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import trio

from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.errors import GatewayError
from appliance.gateway.accounting import Exchange
from appliance.observe.metrics import Metrics
from appliance.queueing.line import Line, Standing, Ticket


@dataclass(frozen=True, slots=True)
class Share:
    """What a key may expect where others wait too.

    Attributes:
        weight: tokens that it gets for each one of a key with weight 1.
        priority: higher ones go first.
    """

    weight: float = 1.0
    priority: int = 0


@dataclass(frozen=True, slots=True)
class QueueRules:
    """How requests wait.

    Attributes:
        size: most that wait for one runtime.
        wait: seconds that each may wait.
        shares: by the name of the key; an absent one has the common share.
        early: a stream that has to wait is answered 200 at once, and sent signs of life.
    """

    size: int = 256
    wait: float = 120.0
    shares: Mapping[str, Share] = field(default_factory=dict)
    early: bool = False


_COMMON = Share()


@dataclass(slots=True)
class _Slots:
    """What is known of the slots of one runtime.

    Attributes:
        ready: slots of each replica that is ready.
        each: slots of the last replica that was.
        known: replicas that there are, ready or not.
    """

    each: int
    ready: dict[str, int] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)


class Queues:
    """All lines.

    Args:
        rules: how requests wait.
        clock: monotonic seconds.
    """

    def __init__(self, rules: QueueRules, clock: Callable[[], float], metrics: Metrics) -> None:
        self._lines: dict[str, Line] = {}  # by runtime
        self._slots: dict[str, _Slots] = {}
        self._events: dict[Ticket, trio.Event] = {}  # of those who wait
        self._rules = rules
        self._clock = clock
        self._metrics = metrics

    def change(self, rules: QueueRules) -> None:
        """These are the rules from now on; whoever waits keeps his place and his deadline."""
        self._rules = rules
        for line in self._lines.values():
            line.size, line.patience = rules.size, rules.wait / 2

    @property
    def early(self) -> bool:
        """Streams that have to wait are answered at once."""
        return self._rules.early

    def report(self) -> list[dict[str, object]]:
        """The line of each runtime: slots, how many have one, how many wait."""
        return [
            {"runtime": name, "slots": line.capacity, "running": line.running, "waiting": line.waiting}
            for name, line in self._lines.items()
        ]

    def full(self, runtime: str) -> bool:
        """Whoever asks now has to wait."""
        line = self._lines.get(runtime)
        return line is not None and (line.running >= line.capacity or line.waiting > 0)

    def take(self, runtime: str, exchange: Exchange, tokens: int) -> bool:
        """Give the exchange a slot without waiting, where it needs one; False where none is free.

        Args:
            runtime: its name.
            exchange: gets the place.
            tokens: estimate of its input.
        """
        line = self._lines.get(runtime)
        if line is None:
            return True
        exchange.place = line.take(exchange.key, tokens, self._rules.shares.get(exchange.key, _COMMON).weight)
        return exchange.place is not None

    async def wait(
        self, runtime: str, exchange: Exchange, tokens: int, in_vain: Callable[[], GatewayError | None] = lambda: None
    ) -> None:
        """Stand in line until the exchange has a slot; whoever is cancelled here leaves nothing behind.

        Args:
            runtime: its name.
            exchange: gets the place.
            tokens: estimate of its input.
            in_vain: asked whenever the line is told to `look_again`: why it need not wait any more.

        Raises:
            GatewayError: `queue_full` or `queue_timeout`, or what `in_vain` gave.
        """
        line, began, limit = self._lines[runtime], self._clock(), self._rules.wait
        exchange.phase = "queued"
        ticket = self._join(line, runtime, exchange, tokens, began)
        self._events[ticket] = trio.Event()
        try:
            with trio.move_on_after(limit):
                while True:
                    await self._events[ticket].wait()
                    if ticket.standing is not Standing.WAITING:
                        break
                    if error := in_vain():
                        raise error
            if ticket.standing is Standing.WAITING:
                raise _too_late(line, exchange, ticket, limit, self._clock())
            if ticket.standing is Standing.REFUSED:
                raise _refused(
                    line, exchange, "Requests of others, who have fewer of them, wait as well", self._clock()
                )
            exchange.place = ticket
        finally:
            del self._events[ticket]
            now = self._clock()
            if exchange.place is None:
                self._call(line.leave(ticket, now))
            exchange.queued += now - began
            self._metrics.queue_left(runtime, line.waiting, now - began)

    def _join(self, line: Line, runtime: str, exchange: Exchange, tokens: int, now: float) -> Ticket:
        share = self._rules.shares.get(exchange.key, _COMMON)
        ticket, displaced = line.join(exchange.key, tokens, share.weight, share.priority, now)
        if ticket.standing is Standing.REFUSED:
            raise _refused(line, exchange, "No more may wait", now)
        if displaced is not None:
            self._call([displaced])
        self._metrics.queue_joined(runtime, line.waiting)
        return ticket

    def _call(self, tickets: Sequence[Ticket]) -> None:
        """These need not wait any more."""
        for ticket in tickets:
            self._events[ticket].set()

    def look_again(self, runtime: str) -> None:
        """Whoever waits there asks whether that is in vain by now."""
        line = self._lines.get(runtime)
        for ticket, event in self._events.items():
            if ticket.line is line:
                self._events[ticket] = trio.Event()
                event.set()

    def free(self, exchange: Exchange, used: int | None, now: float) -> None:
        """The exchange does not need its slot any more; `used` as `Line.release` takes it."""
        ticket, exchange.place = exchange.place, None
        if ticket is not None and (called := ticket.line.release(ticket, used, now)):
            self._call(called)

    def step_aside(self, exchange: Exchange) -> None:
        """The exchange has to wait for something else first: it gives back its slot, and the use of its replica."""
        self.free(exchange, 0, self._clock())
        exchange.let_go()

    def replica_changed(self, before: ReplicaStatus | None, after: ReplicaStatus) -> None:
        """A replica's row was written; a watcher of the fleet table."""
        ready = after.state is ReplicaState.READY
        if before is not None and (before.state is ReplicaState.READY) == ready and before.slots == after.slots:
            return
        slots = self._slots.get(after.runtime)
        if slots is None:
            if not ready or not after.slots:
                return
            slots = self._slots[after.runtime] = _Slots(after.slots)
            self._lines[after.runtime] = Line(after.slots, self._rules.size, self._rules.wait / 2)
        slots.known.add(after.replica)
        if ready:
            slots.ready[after.replica] = slots.each = after.slots
        else:
            slots.ready.pop(after.replica, None)
        self._resize(after.runtime, slots)

    def replica_dropped(self, replica: str) -> None:
        """There is no such replica any more; a watcher of the fleet table."""
        for runtime, slots in self._slots.items():
            if replica in slots.known:
                slots.known.remove(replica)
                if slots.ready.pop(replica, None) is not None or not slots.known:
                    self._resize(runtime, slots)
                return

    def _resize(self, runtime: str, slots: _Slots) -> None:
        # One does not say how much it takes: then all take what comes. Or the runtime is gone: all hear of that.
        if not all(slots.ready.values()) or not slots.known:
            del self._slots[runtime]
            self._call(self._lines.pop(runtime).resize(sys.maxsize, self._clock()))
            return
        # Without any that is ready, the first ones go and hear from the supervisor why, or wait for it there.
        capacity = sum(slots.ready.values()) or slots.each
        self._call(self._lines[runtime].resize(capacity, self._clock()))


def _refused(line: Line, exchange: Exchange, why: str, now: float) -> GatewayError:
    after = line.retry_after(now)
    return GatewayError(
        "queue_full",
        f"All {line.capacity} slots of model {exchange.model!r} are busy, and {line.waiting} requests wait for one. "
        f"{why}. Try again in {after} s; the server's owner can give the model more slots or replicas.",
        retry_after=after,
        extras={"waiting": line.waiting},
    )


def _too_late(line: Line, exchange: Exchange, ticket: Ticket, limit: float, now: float) -> GatewayError:
    position, after = line.position(ticket, now), line.retry_after(now)
    return GatewayError(
        "queue_timeout",
        f"No slot of model {exchange.model!r} became free for this request within {limit:g} s; it stood at place "
        f"{position} of {line.waiting}. Try again in {after} s; the server's owner can give the model more slots or "
        "replicas, or this key more weight.",
        retry_after=after,
        extras={"position": position, "waiting": line.waiting},
    )
