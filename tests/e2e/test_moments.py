"""The moments around an engine's death, with many clients: who learns of it first must make no difference to them."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests.e2e.test_realtime import events, session
from tests.fakes.product import Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    quick = ("--tokens", "5", "--token-delay", "0.02")
    tables = "\n".join(
        [
            runtime("lone", *quick, extra="slots = 2"),
            runtime("pair", *quick, extra="slots = 4\nreplicas = 2"),
            runtime("wide", *quick, extra="slots = 16"),
            runtime("talk", "--realtime", kinds='["realtime"]', extra="slots = 1"),
        ]
    )
    with product(tmp_path_factory.mktemp("box"), tables, "probe_interval = '200ms'") as running:
        running.ready("lone", "pair", "wide", "talk")
        yield running


async def crowd(box: Product, model: str, size: int, doomed: str, after: float) -> list[tuple[int, str]]:
    """So many clients at once, each with words of its own; their engine is killed in the midst of it."""
    ends: list[tuple[int, str]] = []

    async def client(web: httpx.AsyncClient, number: int) -> None:
        words = f"{doomed} {number} {os.urandom(4).hex()}"
        body = {"model": model, "messages": [{"role": "user", "content": words}], "stream": number % 2 == 0}
        reply = await web.post(f"{box.url}/v1/chat/completions", json=body, headers=box.headers)
        code = reply.json()["error"]["message"] if reply.status_code != 200 else ""
        if not code and number % 2 == 0 and '"error"' in reply.text:
            code = "in the stream"
        ends.append((reply.status_code, code))

    limits = httpx.Limits(max_connections=None)
    pid = box.pids(doomed)[0]
    async with httpx.AsyncClient(timeout=60, limits=limits) as web, trio.open_nursery() as nursery:
        for number in range(size):
            nursery.start_soon(client, web, number)
        await trio.sleep(after)
        os.kill(pid, signal.SIGKILL)
        for number in range(size, size + 20):  # and these come while hardly anybody knows
            nursery.start_soon(client, web, number)
    return ends


def at_rest(box: Product) -> bool:
    state: dict[str, Any] = box.ops("GET", "/state").json()
    idle = all(line["running"] == line["waiting"] == 0 for line in state["queues"])
    return idle and state["circuits"] == [] and all(row["busy"] == 0 for row in state["replicas"])


@pytest.mark.parametrize(
    ("model", "doomed", "inside"), [("lone", "lone", 2), ("pair", "pair@1", 4), ("wide", "wide", 16)]
)
@pytest.mark.parametrize("after", [0.1, 0.3])
def test_only_those_who_were_inside_notice(box: Product, model: str, doomed: str, inside: int, after: float) -> None:
    ends = trio.run(crowd, box, model, 60, doomed, after)
    noticed = [(status, words) for status, words in ends if words]
    assert len(ends) == 80
    assert {status for status, words in noticed} <= {200, 502}, noticed
    # A reset is what comes of a request that the engine was sent and did not read any more.
    assert sum("was reset" not in words for _, words in noticed) <= inside, noticed
    box.ready(model)
    box.until(lambda: at_rest(box), 10)


async def until(box: Product, condition: Callable[[], bool], seconds: float) -> None:
    await trio.to_thread.run_sync(box.until, condition, seconds)


async def test_a_session_in_line_gets_the_next_process_when_the_one_before_it_dies_with_its_engine(
    box: Product,
) -> None:
    told: list[str] = []
    async with session(box, "model=talk") as first, trio.open_nursery() as nursery:
        await events(first, "session.created")

        async def second() -> None:
            async with session(box, "model=talk") as connection:
                await events(connection, "session.created")
                told.append("second")

        nursery.start_soon(second)
        await until(box, lambda: waiting(box, "talk") == 1, 10)
        os.kill(box.pids("talk")[0], signal.SIGKILL)
        assert json.loads(await first.get_message())["error"]["code"] == "backend_died"
    assert told == ["second"]
    await until(box, lambda: at_rest(box), 10)


async def test_a_session_that_comes_as_the_engine_dies_gets_the_next_process(box: Product) -> None:
    box.ready("talk")
    os.kill(box.pids("talk")[0], signal.SIGKILL)
    async with session(box, "model=talk") as connection:
        await events(connection, "session.created")
    await until(box, lambda: at_rest(box), 10)


def waiting(box: Product, model: str) -> int:
    state: dict[str, Any] = box.ops("GET", "/state").json()
    return next(int(line["waiting"]) for line in state["queues"] if line["runtime"] == model)


def test_what_waits_for_a_model_that_a_reload_takes_away_is_told_so_and_what_it_answers_may_finish(
    tmp_path: Path,
) -> None:
    gone = runtime("gone", "--tokens", "30", "--token-delay", "0.1", extra="slots = 1")
    with product(tmp_path, gone + runtime("stays")) as box, ThreadPoolExecutor(4) as pool:
        box.ready("gone", "stays")
        ask = {"model": "gone", "messages": [{"role": "user", "content": "hi"}]}
        begun = [pool.submit(box.post, "/v1/chat/completions", ask) for _ in range(3)]
        box.until(lambda: waiting(box, "gone") == 2, 10)
        box.config.write_text(box.config.read_text().replace(gone, ""))
        assert box.ops("POST", "/reload").json()["ok"]
        ends = [reply.result() for reply in begun]
        assert sorted(reply.status_code for reply in ends) == [200, 404, 404]
        box.until(lambda: at_rest(box), 10)
        assert {row["replica"] for row in box.ops("GET", "/state").json()["replicas"]} == {"stays"}
