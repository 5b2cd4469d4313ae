import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

from appliance.scripted.engine import ScriptedEngine
from appliance.scripted.script import Script

CHAT = "/v1/chat/completions"
HELLO = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}


@asynccontextmanager
async def serving(script: Script, **more: object) -> AsyncIterator[tuple[httpx.AsyncClient, ScriptedEngine]]:
    engine = ScriptedEngine(script, **more)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        port = await nursery.start(engine.serve)
        if "loading" not in more:
            await engine.loaded.wait()
        base = "http://engine" if script.socket else f"http://127.0.0.1:{port}"
        transport = httpx.AsyncHTTPTransport(uds=script.socket or None)
        async with httpx.AsyncClient(base_url=base, transport=transport, timeout=5) as client:
            yield client, engine
        nursery.cancel_scope.cancel()


async def read(client: httpx.AsyncClient) -> list[str]:
    async with client.stream("POST", CHAT, json={**HELLO, "stream": True}) as reply:
        return [line async for line in reply.aiter_lines() if line]


async def test_it_says_loading_until_it_is_loaded() -> None:
    weights = trio.Event()
    async with serving(Script(), loading=weights.wait) as (client, engine):
        reply = await client.get("/health")
        assert (reply.status_code, reply.json()["error"]["message"]) == (503, "Loading model")
        assert (await client.post(CHAT, json=HELLO)).status_code == 503
        weights.set()
        await engine.loaded.wait()
        assert (await client.get("/health")).json() == {"status": "ok"}


async def test_it_listens_on_a_socket_even_where_a_dead_one_lies(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    path.touch()
    async with serving(Script(socket=str(path))) as (client, _):
        assert (await client.post(CHAT, json=HELLO)).status_code == 200


async def test_it_lists_its_model() -> None:
    async with serving(Script(model="tiny")) as (client, _):
        assert [card["id"] for card in (await client.get("/v1/models")).json()["data"]] == ["tiny"]


async def test_one_connection_carries_many_requests() -> None:
    async with serving(Script()) as (client, _):
        for _ in range(3):
            assert (await client.post(CHAT, json=HELLO)).status_code == 200
        assert (await client.post("/v1/embeddings", json={"input": "x"})).status_code == 200
        assert (await read(client))[-1] == "data: [DONE]"
        assert (await client.get("/_state")).json()["served"] == 5


async def test_state_shows_the_last_request() -> None:
    async with serving(Script()) as (client, _):
        await client.post(CHAT, json=HELLO, headers={"x-mark": "seen"})
        state = (await client.get("/_state")).json()
        assert json.loads(state["last_request"]["body"]) == HELLO
        assert ["x-mark", "seen"] in state["last_request"]["headers"]
        assert (state["running"], state["served"]) == (0, 1)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_ends_the_work(stream: bool) -> None:
    async with serving(Script(stall_after_tokens=2)) as (client, engine):
        with trio.move_on_after(0.3):
            await client.post(CHAT, json={**HELLO, "stream": stream})
        with trio.fail_after(1):
            while engine.state.running:
                await trio.sleep(0.01)
        assert (engine.state.cancelled, engine.state.served) == (1, 0)


async def test_truncation_is_a_clean_end_without_finish_and_done() -> None:
    async with serving(Script(truncate_after_tokens=2)) as (client, _):
        lines = await read(client)
        assert len(lines) == 3
        assert not any("[DONE]" in line or '"stop"' in line or '"length"' in line for line in lines)


@pytest.mark.parametrize("socket", [False, True])
async def test_a_cut_breaks_the_connection_inside_the_body(socket: bool, tmp_path: Path) -> None:
    path = str(tmp_path / "s") if socket else ""
    async with serving(Script(cut_after_tokens=2, socket=path)) as (client, _):
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await read(client)
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await client.post(CHAT, json=HELLO)


async def test_a_crash_kills_the_process_after_the_token() -> None:
    deaths: list[int] = []
    async with serving(Script(crash_after_tokens=1), die=lambda: deaths.append(1)) as (client, _):
        await read(client)
        assert deaths == [1]


async def test_only_done_and_error_event_and_garbage_are_what_they_say() -> None:
    async with serving(Script(only_done=True)) as (client, _):
        assert await read(client) == ["data: [DONE]"]
    async with serving(Script(error_event_after=1)) as (client, _):
        assert json.loads((await read(client))[-1].removeprefix("data: "))["error"]["code"] == 500
    async with serving(Script(garbage="event")) as (client, _):
        assert "data: {not json" in await read(client)
    async with serving(Script(garbage="http")) as (client, _):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post(CHAT, json=HELLO)


async def test_statuses_are_what_the_script_says() -> None:
    async with serving(Script(status=429)) as (client, _):
        assert (await client.post(CHAT, json=HELLO)).status_code == 429
    async with serving(Script(redirect=True)) as (client, _):
        assert (await client.post(CHAT, json=HELLO)).is_redirect
    async with serving(Script(no_embeddings=501)) as (client, _):
        assert (await client.post("/v1/embeddings", json={"input": "x"})).status_code == 501
    async with serving(Script(huge_error=True)) as (client, _):
        reply = await client.post(CHAT, json=HELLO)
        assert reply.status_code == 500
        assert len(reply.content) > 2**20
    async with serving(Script()) as (client, _):
        assert (await client.post("/v1/other", json=HELLO)).status_code == 404
        assert (await client.post(CHAT, content=b"{")).status_code == 400
        assert (await client.post(CHAT, content=b'{"messages":["\\ud800"],"max_tokens":"x"}')).status_code == 400
        assert (await client.post(CHAT, json=HELLO)).status_code == 200


async def test_it_fails_so_often_and_then_is_well() -> None:
    async with serving(Script(failures=2)) as (client, _):
        statuses = [(await client.post(CHAT, json=HELLO)).status_code for _ in range(3)]
    assert statuses == [500, 500, 200]


async def test_delays_happen_where_they_are_asked_for() -> None:
    async with serving(Script(first_byte_delay=0.1, token_delay=0.02)) as (client, _):
        started = trio.current_time()
        await read(client)
        assert trio.current_time() - started >= 0.1 + 4 * 0.02


async def test_like_vllm_it_refuses_connections_until_it_is_loaded(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    engine = ScriptedEngine(Script(style="vllm", load_seconds=0.3, socket=path))
    async with trio.open_nursery() as nursery:
        listening = trio.Event()

        async def serve() -> None:
            await nursery.start(engine.serve)
            listening.set()

        nursery.start_soon(serve)
        await trio.sleep(0.1)
        with pytest.raises(OSError):
            await trio.open_unix_socket(path)
        await listening.wait()
        await (await trio.open_unix_socket(path)).aclose()
        nursery.cancel_scope.cancel()


async def test_it_hangs_with_a_healthy_face() -> None:
    async with serving(Script(hang_after=1)) as (client, _):
        assert (await client.post(CHAT, json=HELLO)).status_code == 200
        with pytest.raises(httpx.ReadTimeout):
            await client.post(CHAT, json=HELLO, timeout=0.2)
        assert (await client.get("/health")).status_code == 200


async def test_its_health_hangs_while_tokens_flow() -> None:
    async with serving(Script(health_hangs=True, first_byte_delay=2)) as (client, _):
        assert (await client.get("/health")).status_code == 200
        async with trio.open_nursery() as nursery:
            answers: list[int] = []

            async def ask() -> None:
                answers.append((await client.post(CHAT, json=HELLO)).status_code)

            nursery.start_soon(ask)
            while (await client.get("/_state")).json()["running"] == 0:
                await trio.sleep(0.01)
            with pytest.raises(httpx.ReadTimeout):
                await client.get("/health", timeout=0.2)
        assert answers == [200]
        assert (await client.get("/health")).status_code == 200


async def test_with_a_wrong_key_only_health_answers() -> None:
    async with serving(Script(wrong_key=True)) as (client, _):
        assert (await client.post(CHAT, json=HELLO)).status_code == 401
        assert (await client.get("/v1/models")).status_code == 401
        assert (await client.get("/health")).status_code == 200


async def test_poison_ends_the_process_and_nothing_else_does() -> None:
    deaths: list[int] = []
    async with serving(Script(poison="arsenic"), die=lambda: deaths.append(1)) as (client, _):
        await client.post(CHAT, json=HELLO)
        assert deaths == []
        await client.post(CHAT, json={**HELLO, "user": "arsenic"})
        assert deaths == [1]


@pytest.mark.parametrize(
    ("style", "name"), [("vllm", "vllm:generation_tokens_total"), ("llama.cpp", "llamacpp:tokens_predicted_total")]
)
async def test_its_counters_move_with_the_tokens(style: str, name: str) -> None:
    async with serving(Script(style=style)) as (client, _):  # type: ignore[arg-type]  # from the parameters
        await read(client)
        await client.post(CHAT, json=HELLO)
        page = (await client.get("/metrics")).text
        assert next(line for line in page.splitlines() if line.startswith(name)).endswith(" 8")


async def test_asleep_it_answers_nothing_and_awake_it_goes_on() -> None:
    held: list[float] = []
    async with serving(Script(sleeps=True), memory=held.append) as (client, engine):
        assert (await client.post("/sleep?level=2")).json() == {"status": "sleeping", "level": 2}
        assert (await client.get("/is_sleeping")).json() == {"is_sleeping": True}
        assert (await client.get("/health")).status_code == 200
        with pytest.raises(httpx.ReadTimeout):
            await client.post(CHAT, json=HELLO, timeout=0.2)
        assert (await client.post("/wake_up")).status_code == 200
        assert (await client.post("/collective_rpc", json={"method": "reload_weights"})).status_code == 200
        assert (await client.post(CHAT, json=HELLO)).status_code == 200
        assert (engine.state.asleep, engine.state.reloaded) == (0, 1)
    assert held == [0.05, 1.0]


async def test_it_can_lie_about_sleep_and_fail_to_wake() -> None:
    held: list[float] = []
    async with serving(Script(sleeps=True, sleep_keeps_memory=True, wake_fails=True), memory=held.append) as (
        client,
        _,
    ):
        assert (await client.post("/sleep")).status_code == 200
        assert (await client.post("/wake_up")).status_code == 500
    assert held == []


async def test_without_the_mode_there_are_no_routes_for_sleep() -> None:
    async with serving(Script()) as (client, _):
        assert (await client.post("/sleep")).status_code == 404
        assert (await client.get("/is_sleeping")).status_code == 404


async def test_with_its_engine_dead_it_says_so_everywhere() -> None:
    async with serving(Script(token_delay=0.05)) as (client, engine):
        async with client.stream("POST", CHAT, json={**HELLO, "stream": True}) as reply:
            lines = reply.aiter_lines()
            await anext(lines)
            engine.state.dead = True
            rest = [line async for line in lines if line]
        assert json.loads(rest[-2].removeprefix("data: "))["error"]["code"] == 500
        assert (await client.get("/health")).status_code == 503
        assert (await client.post(CHAT, json=HELLO)).status_code == 500
