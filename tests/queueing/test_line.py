from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from appliance.queueing.line import Line, Standing, Ticket

WAITING, SERVED, REFUSED, GONE = Standing.WAITING, Standing.SERVED, Standing.REFUSED, Standing.GONE


def line(capacity: int = 1, size: int = 1000, patience: float = 1e9) -> Line:
    return Line(capacity, size, patience)


def join(to: Line, key: str, tokens: int = 10, weight: float = 1, priority: int = 0, now: float = 0.0) -> Ticket:
    return to.join(key, tokens, weight, priority, now)[0]


def taken(of: Line, key: str = "a", tokens: int = 10) -> Ticket:
    ticket = of.take(key, tokens, 1)
    assert ticket is not None
    return ticket


def test_a_free_slot_is_taken_at_once_and_a_full_line_gives_none() -> None:
    full = line(2)
    assert (taken(full).standing, taken(full).standing) == (SERVED, SERVED)
    assert full.take("b", 1, 1) is None


def test_nobody_overtakes_who_waits() -> None:
    full = line()
    first = taken(full)
    waiting = join(full, "a")
    full.resize(2, 0)
    assert waiting.standing is SERVED
    join(full, "a")
    full.capacity = 5  # as if there were room: the line comes first all the same
    assert full.take("b", 1, 1) is None
    assert full.release(first, 20, 0)


def test_a_hundred_of_one_key_do_not_hold_up_another() -> None:
    full = line(4)
    running = [taken(full, "heavy") for _ in range(4)]
    for _ in range(100):
        join(full, "heavy")
    light = join(full, "light")
    assert full.position(light, 0) == 1
    assert full.release(running[0], 500, 0) == [light]


def test_what_was_charged_too_much_is_no_advantage_against_a_newcomer() -> None:
    full = line(1)
    running = taken(full, "heavy", 100_000)
    for _ in range(100):
        join(full, "heavy", 100_000)
    for _ in range(3):
        (running,) = full.release(running, 10, 0)
    light = join(full, "light", 10)
    served = []
    while light.standing is WAITING:
        (running,) = full.release(running, 10, 0)
        served.append(running)
    assert len(served) <= 2


def test_long_answers_count_for_more_than_short_ones() -> None:
    full = line(1)
    running = taken(full, "long")
    for _ in range(50):
        join(full, "long")
        join(full, "short")
    used = {"long": 900, "short": 100}
    served: Counter[str] = Counter()
    for _ in range(40):
        key = running.flow.key
        served[key] += 1
        (running,) = full.release(running, used[key], 0)
    assert served["short"] > 5 * served["long"]


def test_a_pause_saves_nothing_up() -> None:
    full = line(1)
    idle = taken(full, "idle")
    running = None
    full.release(idle, 10, 0)
    running = taken(full, "busy")
    for _ in range(20):
        join(full, "busy")
    for _ in range(10):
        (running,) = full.release(running, 100, 0)
    for _ in range(20):
        join(full, "idle")
    served: Counter[str] = Counter()
    for _ in range(10):
        (running,) = full.release(running, 100, 0)
        served[running.flow.key] += 1
    assert 4 <= served["idle"] <= 6


def test_a_higher_priority_goes_first_until_patience_ends() -> None:
    full = line(1, patience=60)
    running = taken(full)
    low = join(full, "low", priority=-1, now=0)
    high = [join(full, "high", priority=5, now=10) for _ in range(5)]
    assert full.release(running, 10, 59) == [high[0]]
    assert full.release(high[0], 1000, 60) == [low]


def test_a_full_line_refuses_the_key_that_fills_it_and_makes_room_for_others() -> None:
    full = line(1, size=3)
    taken(full)
    greedy = [join(full, "greedy") for _ in range(3)]
    assert join(full, "greedy").standing is REFUSED
    ticket, displaced = full.join("other", 10, 1, 0, 0)
    assert (ticket.standing, displaced, greedy[2].standing) == (WAITING, greedy[2], REFUSED)
    assert full.waiting == 3
    assert join(full, "third").standing is WAITING  # two are still more than one
    assert join(full, "fourth").standing is REFUSED  # now everybody has one
    assert full.waiting == 3


def test_a_line_without_places_refuses_everybody() -> None:
    full = line(1, size=0)
    taken(full)
    assert join(full, "a").standing is REFUSED


def test_leaving_frees_a_place_or_a_slot_at_once() -> None:
    full = line(1)
    running = taken(full)
    first, second = join(full, "a"), join(full, "b")
    assert not full.leave(first, 0)
    assert full.waiting == 1
    assert full.leave(running, 0) == [second]
    assert not full.release(running, 5, 0)  # a second time does nothing
    assert full.running == 1


def test_positions_are_the_order_in_which_they_are_served() -> None:
    full = line(1)
    running = taken(full)
    tickets = [join(full, key, tokens) for key, tokens in [("a", 50), ("a", 5), ("b", 10), ("c", 10), ("b", 10)]]
    expected = sorted(tickets, key=lambda ticket: full.position(ticket, 0))
    served = []
    while full.waiting:
        cost = int(running.cost)
        (running,) = full.release(running, cost, 0)
        served.append(running)
    assert served == expected
    assert full.position(tickets[0], 0) == 0


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.5, 1, 2, 5]), st.integers(1, 400)), min_size=2, max_size=5),
    st.integers(1, 8),
    st.randoms(use_true_random=False),
)
def test_in_the_long_run_everybody_gets_tokens_by_weight(
    keys: list[tuple[float, int]], slots: int, random: object
) -> None:
    """Keys that always have something waiting get the same work for their weight, but for what is under way."""
    full = line(slots)
    running = []
    for number, (weight, used) in enumerate(keys):
        for _ in range(300):
            ticket = full.take(str(number), used, weight) or full.join(str(number), used, weight, 0, 0)[0]
            if ticket.standing is SERVED:
                running.append(ticket)
    work = [0.0] * len(keys)
    while all(len(flow.waiting) for flow in full._flows.values()) and sum(work) < 25_000:
        ticket = running.pop(random.randrange(len(running)))  # type: ignore[attr-defined]
        number = int(ticket.flow.key)
        work[number] += keys[number][1] / keys[number][0]
        running += full.release(ticket, keys[number][1], 0)
    # The estimate holds at most the longest answer of anybody beside the input.
    most = max(2 * used / weight + 400 / weight for weight, used in keys)
    assert max(work) - min(work) <= (slots + 2) * most


@dataclass
class Model:
    running: list[Ticket] = field(default_factory=list)
    waiting: list[Ticket] = field(default_factory=list)


class LineMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order: nothing is lost, nothing stands idle, everybody is answered."""

    def __init__(self) -> None:
        super().__init__()
        self.line = Line(2, 6, 50)
        self.model = Model()
        self.now = 0.0

    def served(self, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            assert ticket.standing is SERVED
            self.model.waiting.remove(ticket)
            self.model.running.append(ticket)

    @rule(
        key=st.sampled_from("abc"),
        tokens=st.integers(0, 1000),
        weight=st.sampled_from([0.1, 1, 10]),
        priority=st.integers(-1, 1),
    )
    def ask(self, key: str, tokens: int, weight: float, priority: int) -> None:
        ticket = self.line.take(key, tokens, weight)
        if ticket is not None:
            self.model.running.append(ticket)
            return
        ticket, displaced = self.line.join(key, tokens, weight, priority, self.now)
        if displaced is not None:
            self.model.waiting.remove(displaced)
        if ticket.standing is WAITING:
            self.model.waiting.append(ticket)
        else:
            assert ticket.standing is REFUSED

    @precondition(lambda self: self.model.running)
    @rule(at=st.integers(0, 100), used=st.none() | st.integers(0, 2000))
    def end(self, at: int, used: int | None) -> None:
        ticket = self.model.running.pop(at % len(self.model.running))
        self.served(self.line.release(ticket, used, self.now))

    @precondition(lambda self: self.model.waiting or self.model.running)
    @rule(at=st.integers(0, 100))
    def leave(self, at: int) -> None:
        ticket = [*self.model.waiting, *self.model.running][at % (len(self.model.waiting) + len(self.model.running))]
        (self.model.waiting if ticket.standing is WAITING else self.model.running).remove(ticket)
        self.served(self.line.leave(ticket, self.now))

    @rule(capacity=st.integers(1, 4))
    def resize(self, capacity: int) -> None:
        self.served(self.line.resize(capacity, self.now))

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def counts_are_right(self) -> None:
        assert self.line.running == len(self.model.running)
        assert self.line.waiting == len(self.model.waiting) <= 6

    @invariant()
    def no_slot_is_free_while_somebody_waits(self) -> None:
        assert not self.line.waiting or self.line.running >= self.line.capacity

    @invariant()
    def everybody_in_line_has_a_place_of_his_own(self) -> None:
        places = [self.line.position(ticket, self.now) for ticket in self.model.waiting]
        assert sorted(places) == list(range(1, len(places) + 1))

    def teardown(self) -> None:
        """Without newcomers, everybody who waits is served, and then nothing is left."""
        while self.model.running:
            self.end(0, 10)
        assert not self.model.waiting
        assert (self.line.running, self.line.waiting, self.line._backlog) == (0, 0, {})


TestLine = LineMachine.TestCase
TestLine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("used", [0, 1])
def test_asking_and_leaving_does_not_keep_a_key_in_front(used: int) -> None:
    """Whoever leaves each time pays one token: enough that the others are served in the end."""
    full = line(1)
    running = taken(full, "flighty", 1)
    other = join(full, "patient", 3)
    for _ in range(20):
        join(full, "flighty", 1)
        (running,) = full.release(running, used, 0)
        if running is other:
            return
    raise AssertionError("never served")


def test_keys_that_come_and_go_do_not_grow_it_without_bound() -> None:
    quiet = line(1)
    for number in range(1000):
        quiet.release(taken(quiet, str(number)), 10, 0)
    assert len(quiet._flows) <= 65
