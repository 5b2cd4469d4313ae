from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from appliance.config.schema import Runtime
from appliance.domain.status import ProbeAnswer, ReplicaState
from appliance.domain.targets import Address, Endpoint, Lease
from appliance.errors import GatewayError
from appliance.fleet.table import FleetTable
from appliance.supervisor.lending import Lending
from appliance.supervisor.queues import Queue
from appliance.supervisor.replica import Replica
from appliance.supervisor.watching import Senses

S = ReplicaState
SOCKET = Endpoint(Address("unix", "/s"))
TO_READY = (S.STARTING, S.READY)


async def probe(_: Endpoint, __: str) -> ProbeAnswer:
    return ProbeAnswer(ok=True)


class Desk:
    """A runtime's replicas, whose rows the test writes, and those who ask for them."""

    def __init__(self, *names: str, load_wait: float = 30, load_queue: int = 8) -> None:
        fleet = FleetTable()
        fleet.watch_replicas(lambda _, __: self._tell())
        self._changed = trio.Event()
        runtime = Runtime(name="m", engine="command", command=("x",), replicas=max(1, len(names)))
        senses = Senses(probe, lambda: 0.0, lambda: 0.0, 1.0)
        self.replicas = {name: Replica(runtime, name, fleet=fleet, senses=senses) for name in names or ("m",)}
        self.asked = 0
        self.lending = Lending(
            self.replicas,
            lambda _: list(self.replicas.values()),
            moved=self._moved,
            asked=self._note,
            load_wait=load_wait,
            load_queue=load_queue,
        )
        self.lending.queues["m"] = self.queue = Queue()

    def _note(self) -> None:
        self.asked += 1

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _moved(self) -> None:
        await self._changed.wait()

    def go(self, *states: ReplicaState, name: str = "m", **facts: Any) -> Replica:
        replica = self.replicas[name]
        for state in states:
            replica.write(state, endpoint=SOCKET, **facts)
        return replica

    async def ask(self, *, elsewhere: bool = False) -> Lease | GatewayError:
        try:
            lease = self.lending.lend("m", b"")
            return lease if lease is not None else await self.lending.wait("m", b"", elsewhere=elsewhere)
        except GatewayError as error:
            return error

    async def meanwhile(self, *then: Callable[[], object], every: float = 1.0) -> Lease | GatewayError:
        """What becomes of a request while things happen."""
        found: list[Lease | GatewayError] = []

        async def ask() -> None:
            found.append(await self.ask())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            for step in then:
                await trio.sleep(every)
                step()
        return found[0]


def code(answer: Lease | GatewayError) -> str:
    return answer.code if isinstance(answer, GatewayError) else answer.replica


async def test_a_ready_one_is_lent_at_once(autojump_clock: trio.testing.MockClock) -> None:
    desk = Desk()
    desk.go(*TO_READY)
    assert code(await desk.ask()) == "m"
    assert desk.asked == 0


async def test_who_waits_is_served_when_it_is_ready(autojump_clock: trio.testing.MockClock) -> None:
    desk = Desk()
    answer = await desk.meanwhile(lambda: desk.go(S.STARTING), lambda: desk.go(S.READY))
    assert code(answer) == "m"
    assert (desk.asked, desk.queue.waiting) == (1, 0)


async def test_memory_of_others_that_comes_free_in_time_costs_nothing_but_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    desk = Desk()
    held = desk.replicas["m"]
    steps = [lambda: held.block("held by pid 7"), lambda: held.block("held by pid 7 still")]
    answer = await desk.meanwhile(*steps, lambda: desk.go(*TO_READY), every=9)
    assert code(answer) == "m"


async def test_memory_of_others_that_does_not_come_free_is_told_in_the_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    desk = Desk(load_wait=30)
    answer = await desk.meanwhile(lambda: desk.replicas["m"].block("held by pid 7 (ann, train.py)"))
    assert isinstance(answer, GatewayError)
    assert (trio.current_time(), answer.code, answer.retry_after) == (30, "model_blocked", 29)
    assert "held by pid 7 (ann, train.py)" in answer.message


async def test_what_can_never_fit_is_told_at_once(autojump_clock: trio.testing.MockClock) -> None:
    desk = Desk()
    answer = await desk.meanwhile(lambda: desk.replicas["m"].block("it can never fit", hopeless=True))
    assert (code(answer), trio.current_time()) == ("model_blocked", 1)


async def test_who_can_be_answered_elsewhere_does_not_wait_for_memory(autojump_clock: trio.testing.MockClock) -> None:
    desk = Desk()
    desk.replicas["m"].block("held by pid 7")
    assert code(await desk.ask(elsewhere=True)) == "model_blocked"
    assert trio.current_time() == 0


async def test_what_is_in_quarantine_is_told_at_once(autojump_clock: trio.testing.MockClock) -> None:
    desk = Desk()
    desk.go(S.STARTING, S.BACKOFF, S.QUARANTINED, reason="unknown model architecture")
    assert code(await desk.ask()) == "model_quarantined"
    assert trio.current_time() == 0


async def test_a_stop_for_another_model_is_waited_out_and_an_order_to_stop_is_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    desk = Desk()
    desk.go(*TO_READY).begin_drain(600, "makes room for x", to_sleep=True)

    def next_life() -> None:
        desk.replicas["m"].stopping = trio.Event()  # as the task of a replica begins each
        desk.go(*TO_READY)

    answer = await desk.meanwhile(
        desk.replicas["m"].begin_stop,
        lambda: desk.go(S.STOPPING, S.STOPPED),
        next_life,
    )
    assert code(answer) == "m"
    desk.replicas["m"].begin_drain(600)

    def order() -> None:
        desk.replicas["m"].unwant()
        desk.go(S.STOPPING, S.STOPPED)

    assert code(await desk.meanwhile(order)) == "model_loading"


async def test_who_waited_too_long_is_told_what_for_and_keeps_its_place(autojump_clock: trio.testing.MockClock) -> None:
    desk = Desk(load_wait=30)
    desk.go(*TO_READY).begin_drain(600, "makes room for x", to_sleep=True)
    answer = await desk.ask()
    assert isinstance(answer, GatewayError)
    assert answer.code == "model_loading"
    assert "makes room for x, for longer than 30 s" in answer.message
    assert answer.retry_after is not None
    assert desk.queue.asked(trio.current_time() + answer.retry_after) == 1
    await trio.sleep(answer.retry_after)
    answer = await desk.meanwhile(lambda: None)
    assert desk.queue.since == 0


async def test_a_full_queue_refuses(autojump_clock: trio.testing.MockClock) -> None:
    desk = Desk(load_queue=2)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(desk.ask)
        await trio.sleep(1)
        assert code(await desk.ask()) == "queue_full"
        nursery.cancel_scope.cancel()
    assert desk.queue.waiting == 0


async def test_of_several_the_least_busy_healthy_one_is_lent(autojump_clock: trio.testing.MockClock) -> None:
    desk = Desk("m@1", "m@2", "m@3")
    for name in ("m@1", "m@2"):
        desk.go(*TO_READY, name=name)
    assert [code(await desk.ask()) for _ in range(4)] == ["m@1", "m@2", "m@1", "m@2"]
    desk.go(S.READY, name="m@2", healthy=False)
    assert {code(await desk.ask()) for _ in range(4)} == {"m@1"}


async def test_one_that_may_come_keeps_hope_alive(autojump_clock: trio.testing.MockClock) -> None:
    desk = Desk("m@1", "m@2")
    desk.go(S.STARTING, S.BACKOFF, S.QUARANTINED, name="m@1")
    assert code(await desk.meanwhile(lambda: desk.go(*TO_READY, name="m@2"))) == "m@2"


async def test_when_the_appliance_stops_nothing_is_lent(autojump_clock: trio.testing.MockClock) -> None:
    desk = Desk()
    desk.go(*TO_READY)
    desk.lending.closing = True
    assert code(await desk.ask()) == "draining"


@pytest.mark.parametrize("state", [S.STOPPED, S.STARTING])
async def test_the_hint_of_how_long_it_takes(state: ReplicaState, autojump_clock: trio.testing.MockClock) -> None:
    desk = Desk(load_queue=0)
    desk.replicas["m"].last_start = 40
    await trio.sleep(500)
    if state is S.STARTING:
        desk.go(S.STARTING)
        await trio.sleep(25)
    answer = await desk.ask()
    assert isinstance(answer, GatewayError)
    assert answer.retry_after == (15 if state is S.STARTING else 40)


async def test_who_could_not_connect_is_told_when_the_process_is_seen_to_have_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    desk = Desk()
    desk.go(*TO_READY)
    lease = await desk.ask()
    assert isinstance(lease, Lease)
    assert not await desk.lending.seen_to_end(lease, 2)
    assert trio.current_time() == 2
    seen: list[float] = []

    async def watch() -> None:
        assert await desk.lending.seen_to_end(lease, 2)
        seen.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await trio.sleep(1)
        desk.go(S.READY, reason="something else")
        await trio.sleep(0.5)
        desk.go(S.BACKOFF)
    assert seen == [3.5]
    desk.go(S.STARTING)
    desk.replicas["m"].write(S.READY, endpoint=Endpoint(Address("unix", "/next")))
    assert await desk.lending.seen_to_end(lease, 2), "another process is ready by now"
    del desk.replicas["m"]
    assert await desk.lending.seen_to_end(lease, 2), "a reload has removed it"
    assert trio.current_time() == 3.5


async def test_who_waits_is_told_of_an_order_that_stops_the_replica_that_a_reload_brought(
    autojump_clock: trio.testing.MockClock,
) -> None:
    desk = Desk(load_wait=30)
    old = desk.replicas["m"]

    def reload() -> None:
        desk.lending.replacing.add("m")
        old.unwant()
        old.unwant()

    def renewed() -> None:
        desk.replicas["m"] = Desk().replicas["m"]
        desk.lending.replacing.clear()
        desk._tell()

    def stop() -> None:
        desk.replicas["m"].unwant()
        desk._tell()

    answer = await desk.meanwhile(reload, renewed, stop)
    assert (code(answer), trio.current_time()) == ("model_loading", 3)
