import json
import random
from collections import Counter
from typing import Any

import pytest
import trio

from appliance.config.schema import Limits
from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.domain.targets import Endpoint
from appliance.errors import GatewayError
from appliance.gateway.accounting import Exchange
from appliance.gateway.queues import QueueRules, Queues, Share
from appliance.observe.metrics import Metrics
from tests.fakes.accounts import accounts, text_of
from tests.fakes.path import Path
from tests.fakes.runtime import SOCKET
from tests.fakes.upstream_reply import ScriptedReply

S = ReplicaState
JSON = [("content-type", "application/json")]
OK = b'{"choices":[{"index":0,"message":{"content":"Hi"}}],"usage":{"prompt_tokens":1,"completion_tokens":2}}'


def row(state: ReplicaState = S.READY, slots: int = 1, replica: str = "m") -> ReplicaStatus:
    return ReplicaStatus("m", replica, "llama.cpp", state, since=0.0, endpoint=SOCKET, slots=slots)


class Scene:
    def __init__(self, slots: int = 1, **rules: Any) -> None:
        self.metrics = Metrics()
        self.queues = Queues(QueueRules(**rules), trio.current_time, self.metrics)
        self.queues.replica_changed(None, row(S.LOADING, 0))
        self.queues.replica_changed(row(S.LOADING, 0), row(slots=slots))
        self.served: list[str] = []
        self.errors: dict[str, GatewayError] = {}

    def exchange(self, key: str = "a") -> Exchange:
        opened = accounts().open("chat", "127.0.0.1", None)  # type: ignore[arg-type]
        opened.key, opened.model = key, "qwen"
        return opened

    async def stand(self, name: str, key: str = "a") -> None:
        """Wait, be served, and keep the slot."""
        exchange = self.exchange(key)
        try:
            await self.queues.wait("m", exchange, 10)
        except GatewayError as error:
            self.errors[name] = error
            return
        self.served.append(name)

    def taken(self, key: str = "a") -> Exchange:
        exchange = self.exchange(key)
        assert self.queues.take("m", exchange, 10)
        return exchange

    def free(self, exchange: Exchange, used: int | None = 10) -> None:
        self.queues.free(exchange, used, trio.current_time())


async def test_a_runtime_whose_slots_are_unknown_has_no_line() -> None:
    queues = Queues(QueueRules(), trio.current_time, Metrics())
    queues.replica_changed(None, row(S.READY, slots=0))
    exchange = accounts().open("chat", "127.0.0.1", None)  # type: ignore[arg-type]
    assert not queues.full("m")
    assert queues.take("m", exchange, 10)
    assert exchange.place is None


async def test_who_waits_is_served_when_a_slot_is_free(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene()
    first = scene.taken()
    assert scene.queues.full("m")
    assert not scene.queues.take("m", scene.exchange(), 10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.stand, "second")
        await trio.sleep(3)
        assert scene.served == []
        assert 'appliance_queue_depth{target="m"} 1.0' in text_of(scene.metrics)
        scene.free(first)
    assert scene.served == ["second"]
    assert 'appliance_queue_depth{target="m"} 0.0' in text_of(scene.metrics)
    assert 'appliance_queue_wait_seconds_sum{target="m"} 3.0' in text_of(scene.metrics)


async def test_a_full_line_refuses_and_says_when_to_come_back(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene(size=2)
    running = scene.taken()
    async with trio.open_nursery() as nursery:
        for name in "bcd":
            nursery.start_soon(scene.stand, name)
            await trio.sleep(0.001)
        error = scene.errors["d"]
        assert (error.code, error.row.status, error.extras, error.retry_after) == ("queue_full", 503, {"waiting": 2}, 5)
        assert "All 1 slots of model 'qwen' are busy" in error.message
        nursery.cancel_scope.cancel()
    scene.free(running)


async def test_retry_after_is_what_was_measured(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene(size=4)
    holders = [scene.taken()]

    async def pass_on() -> None:
        exchange = scene.exchange()
        await scene.queues.wait("m", exchange, 10)
        holders.append(exchange)

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            for _ in range(4 - scene.queues._lines["m"].waiting):
                nursery.start_soon(pass_on)
            await trio.sleep(3)  # one slot every three seconds
            scene.free(holders.pop())
        nursery.start_soon(pass_on)
        await trio.testing.wait_all_tasks_blocked()
        await scene.stand("too many")
        nursery.cancel_scope.cancel()
    assert scene.errors["too many"].retry_after in range(9, 13)  # four wait


async def test_a_deadline_tells_the_place_it_stood_at(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene(wait=30.0)
    scene.taken()
    before = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.stand, "b")
        await trio.sleep(1)
        nursery.start_soon(scene.stand, "c")
    assert trio.current_time() - before == 31
    assert {error.code for error in scene.errors.values()} == {"queue_timeout"}
    assert scene.errors["b"].extras == {"position": 1, "waiting": 2}
    assert scene.errors["c"].extras == {"position": 1, "waiting": 1}  # the other one had left
    assert scene.queues._lines["m"].waiting == 0


async def test_leaving_frees_the_place_at_once(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene(size=1)
    scene.taken()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.stand, "b")
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert scene.queues._lines["m"].waiting == 0
    assert scene.queues._events == {}


async def test_a_slot_that_comes_together_with_a_cancellation_goes_on_to_the_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    scene = Scene()
    holder = scene.taken()
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def hesitant() -> None:
            with scope:
                await scene.stand("hesitant")

        nursery.start_soon(hesitant)
        await trio.sleep(1)
        nursery.start_soon(scene.stand, "next")
        await trio.sleep(1)
        scope.cancel()
        scene.free(holder)  # hesitant's turn, who is gone and does not know it yet
    assert "next" in scene.served
    assert scene.queues._lines["m"].running == 1


async def test_others_make_room_for_who_has_nothing_waiting(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene(size=2)
    scene.taken("heavy")
    async with trio.open_nursery() as nursery:
        for name in ("h1", "h2"):
            nursery.start_soon(scene.stand, name, "heavy")
            await trio.sleep(1)
        nursery.start_soon(scene.stand, "light", "light")
        await trio.sleep(1)
        assert scene.errors["h2"].code == "queue_full"
        assert "fewer of them" in scene.errors["h2"].message
        nursery.cancel_scope.cancel()


async def test_replicas_come_and_go(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene(slots=2)
    scene.queues.replica_changed(None, row(replica="m@2", slots=3))
    for _ in range(5):
        scene.taken()
    assert scene.queues.full("m")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.stand, "late")
        await trio.sleep(1)
        scene.queues.replica_changed(row(), row(S.BACKOFF))
        scene.queues.replica_dropped("m@2")
        scene.queues.replica_dropped("unheard of")
        assert scene.queues._lines["m"].capacity == 3  # nobody is ready: the first ones ask the supervisor
        scene.queues.replica_changed(row(S.LOADING), row(slots=8))
    assert scene.served == ["late"]


@pytest.mark.parametrize("states", [(), (S.DRAINING,), (S.DRAINING, S.STOPPED)])
async def test_of_a_runtime_that_is_taken_away_no_line_is_left(
    states: tuple[ReplicaState, ...], autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene()
    holder = scene.taken()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.stand, "late")
        await trio.sleep(1)
        before = row()
        for state in states:
            scene.queues.replica_changed(before, before := row(state))
        scene.queues.replica_dropped("m")
    assert scene.served == ["late"], "whoever waited goes on, and hears that it is gone"
    assert scene.queues.report() == []
    scene.free(holder)
    assert scene.queues.report() == []


async def test_one_that_does_not_say_how_much_it_takes_ends_the_line(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene()
    holder = scene.taken()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.stand, "b")
        await trio.sleep(1)
        scene.queues.replica_changed(row(S.LOADING), row(replica="m@2", slots=0))
    assert scene.served == ["b"]
    assert not scene.queues.full("m")
    scene.free(holder)


async def test_new_rules_hold_at_once(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene(size=5)
    scene.taken()
    scene.queues.change(QueueRules(size=0, wait=1, shares={"b": Share(10, 1)}))
    await scene.stand("b", "b")
    assert scene.errors["b"].code == "queue_full"


class Engine:
    """An upstream that takes its time, never for more at once than it has slots."""

    def __init__(self, slots: int, chance: random.Random) -> None:
        self.slots = slots
        self.chance = chance
        self.running = self.most = 0
        self.served: Counter[str] = Counter()

    async def send(self, endpoint: Endpoint, request: Any, deadlines: Any, **_: Any) -> ScriptedReply:
        self.running += 1
        self.most = max(self.most, self.running)
        assert self.running <= self.slots
        try:
            await trio.sleep(self.chance.uniform(0.01, 1))
        finally:
            self.running -= 1
        return ScriptedReply(OK, headers=JSON)


@pytest.mark.timeout(120)
async def test_ten_thousand_random_cancels_leave_no_slot_and_no_place_taken(
    autojump_clock: trio.testing.MockClock,
) -> None:
    chance = random.Random(6)
    engine = Engine(4, chance)
    limits = {"env-1": Limits(concurrent=10_000, tokens_per_minute=10**9)}
    rules = QueueRules(size=8, wait=1.0)
    path = Path(engine, limits=limits, rules=rules, clock=trio.current_time)  # type: ignore[arg-type]
    path.fleet.set_replica(row(slots=4))
    ends: Counter[int] = Counter()

    async def one(number: int) -> None:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi " * (number % 7)}]}).encode()
        await trio.sleep(chance.uniform(0, 300))
        with trio.move_on_after(chance.expovariate(1 / 0.5)):
            ends[(await path.ask("POST", "/v1/chat/completions", body)).status] += 1
            return
        ends[499] += 1

    async with trio.open_nursery() as nursery:
        for number in range(10_000):
            nursery.start_soon(one, number)
    line = path.queues._lines["m"]
    assert (line.running, line.waiting, line._backlog, path.queues._events) == (0, 0, {}, {})
    assert (engine.running, engine.most, path.runtime.held) == (0, 4, set())
    account = path.ledger._keys["env-1"]
    assert (account.under_way, account.held) == (0, 0)
    assert ends.keys() >= {200, 499, 503}
    assert ends[499] > 1000
    metrics = text_of(path.metrics)
    assert 'appliance_requests_in_flight{model="m"} 0.0' in metrics
    assert 'appliance_queue_depth{target="m"} 0.0' in metrics
