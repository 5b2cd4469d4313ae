"""The slots of one runtime, and the line of those who wait for one. Pure.

Fair queueing by start times (Goyal, Vin and Cheng, 1996), with tokens as the work. Each key has a tag: the work that it
was given so far, divided by its weight. The next free slot goes to the waiting key with the smallest tag, and the first
request of that key. A key that comes back after a pause starts at the tag that is being served, so a pause saves
nothing up. What a request will cost is not known when it begins: an estimate is charged, and replaced by what the
engine counted when it ends.

    priority   keys of a higher one go first; whoever has waited for `patience` seconds counts as of the highest
    overflow   a full line makes room for a key that has less waiting there than another one: the other's last one goes
    work       no slot is free while somebody waits
"""

import enum
import math
from collections.abc import Iterator, Sequence

from appliance.queueing.drain import Drain

_LEARNING = 1 / 16  # weight of the newest answer in what an answer is thought to cost
_REMEMBERED = 64  # keys


class Standing(enum.Enum):
    """What has become of a request."""

    WAITING = "waiting"
    SERVED = "served"  # it has a slot
    REFUSED = "refused"  # the line is full, or became so for it
    GONE = "gone"


_SERVED = Standing.SERVED
_NOBODY: Sequence["Ticket"] = ()


class Ticket:
    """One request that has a slot or waits for one.

    Attributes:
        line: where.
        cost: tokens that it is charged with so far.
        since: when it joined, seconds.
    """

    __slots__ = ("cost", "flow", "input", "line", "since", "standing")

    def __init__(self, line: "Line", flow: "_Flow", tokens: int, since: float, standing: Standing) -> None:
        self.line = line
        self.flow = flow
        self.input = tokens
        self.cost = 0.0
        self.since = since
        self.standing = standing


class _Flow:
    """What one key has waiting, and was given."""

    __slots__ = ("key", "priority", "tag", "waiting", "weight")

    def __init__(self, key: str, weight: float, priority: int) -> None:
        self.key = key
        self.weight = weight
        self.priority = priority
        self.tag = 0.0
        self.waiting: dict[Ticket, None] = {}  # in the order in which they came


class Line:
    """See the module.

    Args:
        capacity: slots.
        size: most requests that may wait.
        patience: seconds of waiting that make up for any priority.

    Attributes:
        drain: how quickly slots become free.
        running: requests that have a slot.
        waiting: requests that have none yet.
    """

    __slots__ = (
        "_backlog",
        "_flows",
        "_furthest",
        "_output",
        "_virtual",
        "capacity",
        "drain",
        "patience",
        "running",
        "size",
        "waiting",
    )

    def __init__(self, capacity: int, size: int, patience: float) -> None:
        self.drain = Drain()
        self.capacity = capacity
        self.size = size
        self.patience = patience
        self.running = 0
        self.waiting = 0
        self._flows: dict[str, _Flow] = {}  # of keys with anything here since it was last empty
        self._backlog: dict[str, _Flow] = {}  # those with somebody waiting
        self._virtual = 0.0  # tag of what was given a slot last
        self._furthest = 0.0  # no tag was ever greater
        self._output = 0.0  # what an answer is thought to cost beside its input, tokens

    def take(self, key: str, tokens: int, weight: float) -> Ticket | None:
        """A slot at once; None where none is free.

        Args:
            key: name of whoever asks.
            tokens: estimate of the input.
            weight: share of the key against the others; more than 0.
        """
        if self.running >= self.capacity or self.waiting:
            return None
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = _Flow(key, weight, 0)
        # `_charge`, written out: this is the way of nearly every request.
        ticket = Ticket(self, flow, tokens, 0.0, _SERVED)
        self.running += 1
        tag = flow.tag
        if tag < self._virtual:
            tag = self._virtual
        else:
            self._virtual = tag
        cost = tokens + self._output
        ticket.cost = cost = cost if cost > 1.0 else 1.0  # noqa: FURB136 - max() takes four times as long
        flow.weight = weight
        flow.tag = tag = tag + cost / weight
        if tag > self._furthest:  # noqa: PLR1730 - as above
            self._furthest = tag
        return ticket

    def join(self, key: str, tokens: int, weight: float, priority: int, now: float) -> tuple[Ticket, Ticket | None]:
        """A place in the line, and who was refused for its sake.

        The ticket is refused itself where the line is full of what has no more of it than this key.
        """
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = _Flow(key, weight, priority)
        flow.weight, flow.priority = weight, priority
        ticket = Ticket(self, flow, tokens, now, Standing.WAITING)
        displaced = None
        if self.waiting >= self.size:
            displaced = self._displaced_by(flow)
            if displaced is None:
                ticket.standing = Standing.REFUSED
                return ticket, None
            self._take_out(displaced)
            displaced.standing = Standing.REFUSED
        if not flow.waiting:
            # What was charged too much is given back, so a tag can lie before that of the last one served.
            least = min((other.tag for other in self._backlog.values()), default=self._virtual)
            flow.tag = max(flow.tag, min(self._virtual, least))
            self._backlog[key] = flow
        flow.waiting[ticket] = None
        self.waiting += 1
        return ticket, displaced

    def _displaced_by(self, flow: _Flow) -> Ticket | None:
        """The last request of whoever has the most waiting for its weight, if that is more than `flow` would have."""
        if not self._backlog:
            return None
        greediest = max(self._backlog.values(), key=lambda other: (len(other.waiting) / other.weight, -other.priority))
        if len(greediest.waiting) / greediest.weight <= (len(flow.waiting) + 1) / flow.weight:
            return None
        return next(reversed(greediest.waiting))

    def leave(self, ticket: Ticket, now: float) -> Sequence[Ticket]:
        """It does not want to wait any more, or nothing came of its slot; who has a slot now."""
        if ticket.standing is Standing.WAITING:
            self._take_out(ticket)
            ticket.standing = Standing.GONE
            return _NOBODY
        return self.release(ticket, 0, now)

    def release(self, ticket: Ticket, used: int | None, now: float) -> Sequence[Ticket]:
        """A slot is free again.

        Args:
            ticket: who had it; a second time does nothing.
            used: tokens, input and output, as the engine counted them; None leaves the estimate, 0 is for nothing done.
            now: seconds.

        Returns:
            Who has a slot now.
        """
        if ticket.standing is not _SERVED:
            return _NOBODY
        ticket.standing = Standing.GONE
        self.running -= 1
        if used is not None:
            # At least one, or a key that asks and leaves would be served before all others for ever.
            flow = ticket.flow
            flow.tag = tag = flow.tag + ((used or 1) - ticket.cost) / flow.weight
            if tag > self._furthest:  # noqa: PLR1730 - as in `take`
                self._furthest = tag
            if used:
                answer = used - ticket.input
                self._output += ((answer if answer > 0 else 0) - self._output) * _LEARNING  # noqa: FURB136 - as above
        if not self.waiting:
            if not self.running:
                self._settle_down()
            return _NOBODY
        self.drain.freed(now)
        return self._serve(now)

    def retry_after(self, now: float) -> int:
        """Seconds until all who wait now will have had their turn, as quickly as the line moves; 1 to 60."""
        return self.drain.retry_after(self.waiting, now)

    def resize(self, capacity: int, now: float) -> Sequence[Ticket]:
        """There are more or fewer slots; who has one now. Whoever has one keeps it."""
        self.capacity = capacity
        return self._serve(now)

    def position(self, ticket: Ticket, now: float) -> int:
        """Its place in the line, from 1, if nobody else comes and all answers are as long as they are thought to be."""
        for place, served in enumerate(self._order(now), 1):
            if served is ticket:
                return place
        return 0

    def _order(self, now: float) -> Iterator[Ticket]:
        left = {key: list(flow.waiting) for key, flow in self._backlog.items()}
        tags = {key: flow.tag for key, flow in self._backlog.items()}
        while left:
            key = min(left, key=lambda key: (-self._rank(self._backlog[key], left[key][0], now), tags[key]))
            ticket = left[key].pop(0)
            tags[key] += self._cost(ticket) / self._backlog[key].weight
            if not left[key]:
                del left[key]
            yield ticket

    def _serve(self, now: float) -> list[Ticket]:
        served = []
        while self.waiting and self.running < self.capacity:
            flow = min(
                self._backlog.values(), key=lambda flow: (-self._rank(flow, next(iter(flow.waiting)), now), flow.tag)
            )
            ticket = next(iter(flow.waiting))
            self._take_out(ticket)
            ticket.standing = _SERVED
            self._charge(flow, ticket)
            served.append(ticket)
        return served

    def _rank(self, flow: _Flow, first: Ticket, now: float) -> float:
        return math.inf if now - first.since >= self.patience else flow.priority

    def _charge(self, flow: _Flow, ticket: Ticket) -> None:
        self.running += 1
        self._virtual = max(self._virtual, flow.tag)
        ticket.cost = cost = self._cost(ticket)
        flow.tag += cost / flow.weight
        self._furthest = max(self._furthest, flow.tag)

    def _cost(self, ticket: Ticket) -> float:
        return max(ticket.input + self._output, 1.0)

    def _take_out(self, ticket: Ticket) -> None:
        flow = ticket.flow
        del flow.waiting[ticket]
        self.waiting -= 1
        if not flow.waiting:
            del self._backlog[flow.key]

    def _settle_down(self) -> None:
        """Nobody is here any more: what was is no argument against anybody."""
        self._virtual = self._furthest
        if len(self._flows) > _REMEMBERED:  # keys come and go
            self._flows.clear()
