import json
from collections.abc import Awaitable, Callable
from typing import Literal

import httpx
import pytest
import trio
import trio.testing

from appliance.scripted.engine import ScriptedEngine
from appliance.scripted.script import Script
from appliance.supervisor.sleep import Turn, is_asleep, put_to_sleep, steps_to_wake, wake

GIB = 2**30


class Engine:
    """Answers as vLLM does, and holds memory until some time after it said that it sleeps."""

    def __init__(self, *, lag: float = 0.0, keeps: bool = False, deaf: bool = False, status: int = 200) -> None:
        self.lag, self.keeps, self.deaf, self.status = lag, keeps, deaf, status
        self.asked: list[str] = []
        self.asleep = False
        self.since = 0.0

    async def send(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        await trio.lowlevel.checkpoint()
        self.asked.append(f"{method} {path} {body.decode()}".strip())
        if self.deaf:
            raise ConnectionRefusedError("refused")
        if path == "/is_sleeping":
            return 200, json.dumps({"is_sleeping": self.asleep}).encode()
        if self.status == 200 and path.startswith(("/sleep", "/wake_up")):
            self.asleep = path.startswith("/sleep")
            self.since = trio.current_time()
        return self.status, b"{}"

    async def held(self) -> int | None:
        await trio.lowlevel.checkpoint()
        free = self.asleep and not self.keeps and trio.current_time() >= self.since + self.lag
        return GIB if free else 16 * GIB


def said(text: str) -> Callable[[], Awaitable[str]]:
    async def canary() -> str:
        await trio.lowlevel.checkpoint()
        return text

    return canary


async def unknown() -> int | None:
    await trio.lowlevel.checkpoint()
    return None


async def test_it_sleeps_only_when_its_memory_is_free(autojump_clock: trio.testing.MockClock) -> None:
    engine = Engine(lag=7)
    assert await put_to_sleep(1, engine.send, engine.held) == Turn(ok=True, verified=True)
    assert engine.asked == ["POST /sleep?level=1", "GET /is_sleeping"]
    assert 7 <= trio.current_time() < 9


async def test_one_that_says_it_sleeps_and_keeps_its_memory_is_found_out(
    autojump_clock: trio.testing.MockClock,
) -> None:
    engine = Engine(keeps=True)
    turn = await put_to_sleep(2, engine.send, engine.held, limit=20)
    assert not turn.ok
    assert "memory is not free" in turn.reason
    assert trio.current_time() == 20


async def test_without_a_gpu_to_read_its_word_is_taken_and_told_as_such() -> None:
    engine = Engine()
    assert await put_to_sleep(1, engine.send, unknown) == Turn(ok=True, verified=False)


@pytest.mark.parametrize(("engine", "words"), [(Engine(deaf=True), "no answer"), (Engine(status=404), "answered 404")])
async def test_what_it_refuses_is_told(engine: Engine, words: str) -> None:
    assert words in (await put_to_sleep(1, engine.send, unknown)).reason
    assert words in (await wake(1, engine.send, said(""))).reason


async def test_it_is_awake_only_when_a_token_came_out() -> None:
    engine = Engine()
    assert await wake(1, engine.send, said("")) == Turn(ok=True, verified=True)
    assert engine.asked == ["POST /wake_up", "GET /is_sleeping"]
    turn = await wake(1, engine.send, said("no token came"))
    assert (turn.ok, turn.reason) == (False, "awake, but no token came")


async def test_a_canary_that_hangs_is_a_failure_in_time(autojump_clock: trio.testing.MockClock) -> None:
    async def never() -> str:
        await trio.sleep_forever()
        raise AssertionError

    turn = await wake(1, Engine().send, never, limit=30)
    assert (turn.ok, turn.reason) == (False, "not awake after 30 s")


def test_the_weights_are_read_again_between_the_halves_of_waking_from_level_2() -> None:
    assert [step.path for step in steps_to_wake(2)] == [
        "/wake_up?tags=weights",
        "/collective_rpc",
        "/wake_up?tags=kv_cache",
    ]
    assert json.loads(steps_to_wake(2)[1].body) == {"method": "reload_weights"}


@pytest.mark.parametrize("level", [1, 2])
async def test_over_real_sockets_a_sleeper_comes_back(level: Literal[1, 2]) -> None:
    memory = [1.0]
    engine = ScriptedEngine(Script(style="vllm", sleeps=True), memory=memory.append)
    async with trio.open_nursery() as nursery:
        port = await nursery.start(engine.serve)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:

            async def send(method: str, path: str, body: bytes) -> tuple[int, bytes]:
                reply = await client.request(method, path, content=body)
                return reply.status_code, reply.content

            async def held() -> int | None:
                await trio.lowlevel.checkpoint()
                return int(memory[-1] * GIB)

            assert (await put_to_sleep(level, send, held)).verified
            assert (await wake(level, send, said(""))).ok
            assert engine.state.reloaded == level - 1
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("status", "body", "asleep"),
    [
        (200, b'{"is_sleeping": true}', True),
        (200, b'{"is_sleeping": false}', False),
        (404, b"", False),
        (200, b"[]", False),
    ],
)
async def test_whether_it_sleeps_is_its_own_word(status: int, body: bytes, asleep: bool) -> None:
    async def send(method: str, path: str, sent: bytes) -> tuple[int, bytes]:
        assert (method, path, sent) == ("GET", "/is_sleeping", b"")
        return status, body

    assert await is_asleep(send) is asleep
