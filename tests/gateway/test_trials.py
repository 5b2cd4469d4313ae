import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import trio

from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.domain.targets import Lease
from appliance.errors import ConnectionLost, GatewayError
from appliance.gateway.accounting import Exchange
from appliance.gateway.trials import Trials, digest_of, remembered
from tests.fakes.accounts import accounts
from tests.fakes.path import Path
from tests.fakes.runtime import SOCKET
from tests.fakes.upstream_reply import ScriptedReply

S = ReplicaState
POISON, BYSTANDER = b'{"messages":"poison"}', b'{"messages":"bystander"}'


def row(state: ReplicaState) -> ReplicaStatus:
    return ReplicaStatus("m", "m", "llama.cpp", state, since=0.0)


class Scene:
    def __init__(self, wait: float = 60) -> None:
        self.trials = Trials(trio.current_time, wait)

    def exchange(self, body: bytes) -> Exchange:
        opened = accounts().open("chat", "127.0.0.1", None)  # type: ignore[arg-type]
        opened.asked = trio.current_time()
        opened.content = remembered(body)
        opened.hold(Lease(SOCKET, "m"))
        return opened

    def breaks(self, *exchanges: Exchange) -> None:
        for exchange in exchanges:
            self.trials.broke("m", exchange, trio.current_time())
            self.trials.over("m", exchange, well=False)

    def crash(self, *bodies: bytes) -> None:
        self.breaks(*(self.exchange(body) for body in bodies))
        self.trials.replica_changed(row(S.READY), row(S.BACKOFF))

    async def let_in(self, body: bytes) -> Exchange:
        exchange = self.exchange(body)
        await self.trials.turn("m", body, exchange)
        return exchange


def test_short_bodies_are_kept_and_long_ones_are_digested_alike() -> None:
    short, long = b"x" * 2**14, b"x" * (2**14 + 1)
    assert remembered(short) is short
    assert len(remembered(long)) == 32
    assert len(digest_of(remembered(long))) == len(digest_of(remembered(short))) == 16


async def test_suspects_take_turns_and_who_ends_well_is_free(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene()
    scene.crash(POISON, BYSTANDER)
    first = await scene.let_in(BYSTANDER)
    assert first.trial
    done = trio.Event()

    async def second() -> None:
        exchange = await scene.let_in(POISON)
        assert exchange.lease is None  # it held nobody up while it waited
        assert exchange.phase == "queued"
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(second)
        await trio.sleep(10)
        assert not done.is_set()
        scene.trials.over("m", first, well=True)
    assert done.is_set()
    again = await scene.let_in(BYSTANDER)
    assert again.trial is None  # no suspect any more, and the poison is inside
    assert (await scene.let_in(b"something else")).trial is None


async def test_only_the_one_that_does_it_again_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene()
    scene.crash(POISON, BYSTANDER)
    await trio.sleep(30)
    alone = await scene.let_in(POISON)
    await trio.sleep(1)
    scene.trials.replica_changed(row(S.READY), row(S.BACKOFF))  # this time the crash is seen first
    scene.breaks(alone)
    with pytest.raises(GatewayError, match="crashed twice") as caught:
        await scene.let_in(POISON)
    assert (caught.value.code, caught.value.row.status) == ("request_quarantined", 422)
    assert (await scene.let_in(BYSTANDER)).trial


async def test_those_who_wait_with_the_same_request_are_refused_too(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene()
    scene.crash(POISON)
    alone = await scene.let_in(POISON)
    errors: list[str] = []

    async def copy() -> None:
        try:
            await scene.let_in(POISON)
        except GatewayError as error:
            errors.append(error.code)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(copy)
        nursery.start_soon(copy)
        await trio.sleep(1)
        scene.trials.replica_changed(row(S.READY), row(S.BACKOFF))
        scene.breaks(alone)
    assert errors == ["request_quarantined"] * 2


async def test_a_turn_that_does_not_come_is_an_error_with_a_time(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene(wait=20)
    scene.crash(POISON, BYSTANDER)
    await scene.let_in(BYSTANDER)
    with pytest.raises(GatewayError, match="one at a time") as caught:
        await scene.let_in(POISON)
    assert (caught.value.code, caught.value.retry_after) == ("queue_timeout", 10)


@pytest.mark.parametrize(("seen", "after"), [(True, 1.0), (False, 5.0)])
async def test_nobody_follows_a_suspect_that_broke_off_into_a_dying_engine(
    seen: bool,
    after: float,
    autojump_clock: trio.testing.MockClock,
) -> None:
    scene = Scene()
    scene.crash(POISON, BYSTANDER)
    alone = await scene.let_in(POISON)
    let_in: list[float] = []

    async def follow() -> None:
        await scene.let_in(BYSTANDER)
        let_in.append(trio.current_time() - broke)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await trio.sleep(10)
        broke = trio.current_time()
        scene.breaks(alone)
        await trio.sleep(1)
        assert not let_in
        if seen:
            scene.trials.replica_changed(row(S.READY), row(S.BACKOFF))
    assert let_in == [after]


async def test_who_never_reached_the_dead_engine_is_not_accused_and_does_not_send_the_next_one_there(
    autojump_clock: trio.testing.MockClock,
) -> None:
    scene = Scene()
    scene.crash(BYSTANDER, POISON)
    await trio.sleep(10)
    alone = await scene.let_in(BYSTANDER)
    alone.content = b""  # no connection
    scene.breaks(alone)
    assert scene.trials.suspects.doubt("m", trio.current_time()) > 0
    scene.trials.replica_changed(row(S.READY), row(S.BACKOFF))
    assert (await scene.let_in(BYSTANDER)).trial


@pytest.mark.parametrize("change", [(S.READY, S.STOPPING), (S.READY, S.DRAINING), (S.LOADING, S.BACKOFF)])
async def test_what_was_asked_to_end_or_never_served_is_no_crash(change: tuple[ReplicaState, ReplicaState]) -> None:
    scene = Scene()
    scene.breaks(scene.exchange(POISON))
    scene.trials.replica_changed(row(change[0]), row(change[1]))
    assert not scene.trials.suspects.any


class Mortal:
    """An engine with a few slots that holds every request for a while; whoever says poison ends it."""

    def __init__(self, path_of: Callable[[], Path]) -> None:
        self.path_of = path_of
        self.asked: list[bytes] = []

    async def send(self, endpoint: Any, request: Any, deadlines: Any, **_: Any) -> ScriptedReply:
        self.asked.append(request.body)
        await trio.sleep(10)
        if b"poison" in request.body:
            self.path_of().fleet.set_replica(row(S.BACKOFF))
            self.path_of().fleet.set_replica(replace(row(S.READY), slots=1))
            raise ConnectionLost("reset", before_reply=True)
        return ScriptedReply(b'{"choices":[]}', headers=[("content-type", "application/json")])


async def test_who_becomes_a_suspect_while_it_waits_in_line_waits_for_its_turn_as_well(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """One slot: the first poison crashes the engine, and its two copies stand in line with an innocent one."""
    engine = Mortal(lambda: path)
    path = Path(engine, clock=trio.current_time)  # type: ignore[arg-type]
    path.fleet.set_replica(replace(row(S.READY), slots=1))
    codes: list[int] = []

    async def ask(text: str) -> None:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
        codes.append((await path.ask("POST", "/v1/chat/completions", body)).status)

    async with trio.open_nursery() as nursery:
        for text in ("poison", "poison", "hello", "poison"):
            nursery.start_soon(ask, text)
            await trio.sleep(1)
    assert sorted(codes) == [200, 422, 502, 502]
    poisoned = [body for body in engine.asked if b"poison" in body]
    assert len(poisoned) == 2, "the second crash, of the only suspect inside, is the last one"
    line = path.queues._lines["m"]
    assert (line.running, line.waiting, path.trials.suspects.trials) == (0, 0, {})
    assert path.runtime.held == set()


async def test_a_suspect_gives_its_slot_to_others_while_it_waits_for_its_turn(
    autojump_clock: trio.testing.MockClock,
) -> None:
    scene = Scene()
    scene.crash(POISON, BYSTANDER)
    await scene.let_in(BYSTANDER)
    left: list[Exchange] = []
    trials = Trials(trio.current_time, 5, left.append)
    trials.suspects = scene.trials.suspects
    waiting = scene.exchange(POISON)
    with pytest.raises(GatewayError, match="one at a time"):
        await trials.turn("m", POISON, waiting)
    assert left == [waiting]


class Fragile:
    """An engine that takes ten seconds for an answer, and dies of a poison after three."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, str]] = []
        self.died = trio.Event()

    def path(self) -> Path:
        path = Path(self, clock=trio.current_time)  # type: ignore[arg-type]
        path.fleet.set_replica(replace(row(S.READY), slots=8))
        self._fleet = path.fleet
        return path

    def die(self) -> None:
        self.died.set()
        self.died = trio.Event()
        self._fleet.set_replica(row(S.BACKOFF))
        self._fleet.set_replica(replace(row(S.READY), slots=8))

    async def send(self, _: Any, request: Any, *__: Any, **___: Any) -> ScriptedReply:
        words = json.loads(request.body)["messages"][0]["content"]
        self.asked.append((trio.current_time(), words))
        if words == "poison":
            trio.lowlevel.spawn_system_task(self._poisoned)
        died = self.died
        with trio.move_on_after(10):
            await died.wait()
            raise ConnectionLost("reset", before_reply=True)
        return ScriptedReply(b'{"choices":[]}', headers=[("content-type", "application/json")])

    async def _poisoned(self) -> None:
        await trio.sleep(3)
        self.die()


async def words_to(path: Path, words: str, patience: float = 1000) -> int:
    """The status; 499 for a client that had not so much patience."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": words}]}).encode()
    with trio.move_on_after(patience):
        return (await path.ask("POST", "/v1/chat/completions", body)).status
    return 499


async def test_a_suspect_that_leaves_before_its_engine_dies_of_it_lets_nobody_else_be_taken_for_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    engine = Fragile()
    path = engine.path()
    ends: dict[str, int] = {}

    async def client(name: str, words: str, patience: float = 1000) -> None:
        ends[name] = await words_to(path, words, patience)

    async with trio.open_nursery() as nursery:
        for words in ("poison", "one", "two"):
            nursery.start_soon(client, words, words)
    assert set(ends.values()) == {502}
    await trio.sleep(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client, "poison again", "poison", 2.5)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(client, "one again", "one")
        nursery.start_soon(client, "two again", "two")
    assert (ends["one again"], ends["two again"], ends["poison again"]) == (200, 200, 499)
    assert [await words_to(path, words) for words in ("poison", "one", "two")] == [422, 200, 200]
