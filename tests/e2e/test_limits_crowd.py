"""Limits under a thousand clients at once, through the real door: to the request and to the token."""

import hashlib
import json
import os
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import pytest
import trio

from tests.fakes.crowd import Answer, all_at_once, answer, connect, request
from tests.fakes.product import Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
CLIENTS = 1000
LEAVERS = int(os.environ.get("LEAVERS", "1000"))  # `make soak-leavers` has ten thousand
LIMITS = {
    "rate": "requests_per_minute = 30",
    "steady": "requests_per_minute = 240",
    "day": "tokens_per_day = 3000",
    "few": "concurrent = 50",
    "chaos": "concurrent = 40, tokens_per_minute = 1_000_000_000, tokens_per_month = 1_000_000_000",
    "good": "",
}
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 30}).encode()
SLOW = BODY.replace(b'"m"', b'"slow"')
PAUSING = BODY.replace(b'"m"', b'"pausing"')
STREAM = PAUSING.replace(b"{", b'{"stream":true,', 1)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    keys = "\n".join(
        f'[[keys]]\nname = "{name}"\nhash = "sha256:{hashlib.sha256(name.encode()).hexdigest()}"\nlimits = {{ {limits} }}'
        for name, limits in LIMITS.items()
    )
    model = '[[models]]\nname = "m"\ntargets = ["m"]\n[[models]]\nname = "shared"\ntargets = ["m"]\nlimits = { tokens_per_day = 2500 }\n'
    engines = runtime("m", "--tokens", "20") + runtime("slow", "--tokens", "20", "--first-byte-delay", "5")
    engines += runtime("pausing", "--tokens", "20", "--first-byte-delay", "0.7", extra="slots = 8")
    with product(tmp_path_factory.mktemp("box"), f"{keys}\n{model}\n{engines}") as running:
        running.ready("m", "slow", "pausing")
        yield running


def statuses(answers: list[Answer]) -> Counter[int]:
    return Counter(one.status for one in answers)


async def test_requests_a_minute(box: Product) -> None:
    began = time.monotonic()
    answers = await all_at_once(box.port, "rate", BODY, CLIENTS)
    refilled = (time.monotonic() - began) / 2  # one every two seconds
    found = statuses(answers)
    assert found[200] + found[429] == CLIENTS
    assert 30 <= found[200] <= 30 + refilled
    for one in answers:
        if one.status == 429:
            error = json.loads(one.body)["error"]
            assert (error["code"], error["limit"]) == ("rate_limit_exceeded", "requests_per_minute")
            assert 1 <= int(one.headers["retry-after"]) <= 60


async def test_requests_a_minute_to_the_request(box: Product) -> None:
    """It starts full and refills evenly, so with somebody always asking the count follows from the time alone."""
    served = refused = 0
    first_sent = last_sent = last_answered = trio.current_time()
    first_answered = float("inf")

    async def insist() -> None:
        nonlocal served, refused, last_sent, first_answered, last_answered
        async with await connect(box.port) as stream:
            while trio.current_time() < first_sent + 5:
                last_sent = max(last_sent, trio.current_time())
                await stream.send_all(request("steady", BODY))
                one = await answer(stream)
                last_answered = trio.current_time()
                first_answered = min(first_answered, last_answered)
                served += one.status == 200
                refused += one.status == 429
                await trio.sleep(0.2 if one.status == 429 else 0)

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(insist)
    assert refused > 100
    at_least, at_most = (
        240 + int((end - begin) * 4) for begin, end in ((first_answered, last_sent - 0.5), (first_sent, last_answered))
    )
    assert at_least <= served <= at_most


async def test_requests_at_once(box: Product) -> None:
    answers = await all_at_once(box.port, "few", SLOW, CLIENTS)
    assert statuses(answers) == {200: 50, 429: CLIENTS - 50}
    assert {json.loads(one.body)["error"]["limit"] for one in answers if one.status == 429} == {"concurrent"}


@pytest.mark.parametrize(
    ("key", "model", "quota", "clients"), [("day", "m", 3000, CLIENTS), ("good", "shared", 2500, CLIENTS // 4)]
)
async def test_tokens_a_day_of_a_key_and_of_a_model(
    box: Product, key: str, model: str, quota: int, clients: int
) -> None:
    """Whoever is told that others may not use what they hold tries again; in the end all that fits was used."""
    body = BODY.replace(b'"m"', f'"{model}"'.encode())
    reserved = len(body) // 4 + 30
    used: list[int] = []

    async def insist(stream: trio.SocketStream) -> None:
        while True:
            await stream.send_all(request(key, body))
            one = await answer(stream)
            if one.status == 200:
                used.append(json.loads(one.body)["usage"]["total_tokens"])
                return
            error = json.loads(one.body)["error"]
            assert error["limit"] == "tokens_per_day"
            if error["code"] == "insufficient_quota":
                return
            await trio.sleep(float(one.headers["retry-after"]) / 10)

    streams = [await connect(box.port) for _ in range(clients)]
    async with trio.open_nursery() as nursery:
        for stream in streams:
            nursery.start_soon(insist, stream)
    for stream in streams:
        await stream.aclose()
    (each,) = set(used)
    assert each <= reserved
    assert len(used) == (quota - reserved) // each + 1
    assert sum(used) <= quota


@pytest.mark.timeout(180 + LEAVERS // 20)
async def test_clients_that_leave_at_random_leave_nothing_behind(box: Product) -> None:
    """Forty may be there at once, for eight slots; after the chaos forty get in and nobody more, nobody is in a slot
    or in line, and what is left is what was not used."""
    rng = random.Random(7)
    left = 0

    async def leave() -> None:
        nonlocal left
        stream = await connect(box.port)
        with trio.move_on_after(rng.random() * 2):
            await stream.send_all(request("chaos", rng.choice((PAUSING, STREAM, BODY))))
            await stream.receive_some(65536)
            await trio.sleep(rng.random() / 2)
        await trio.aclose_forcefully(stream)
        left += 1

    for _ in range(LEAVERS // 500):
        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(leave)
    assert left == LEAVERS // 500 * 500

    def nobody_is_there() -> bool:
        (line,) = [line for line in box.ops("GET", "/state").json()["queues"] if line["runtime"] == "pausing"]
        return (line["slots"], line["running"], line["waiting"]) == (8, 0, 0)

    with trio.fail_after(60):
        while not await trio.to_thread.run_sync(nobody_is_there):
            await trio.sleep(0.1)

    async def whole() -> bool:
        answers = await all_at_once(box.port, "chaos", PAUSING, 45)
        if statuses(answers) != {200: 40, 429: 5}:
            return False
        async with await connect(box.port) as stream:
            await stream.send_all(request("chaos", BODY.replace(b"30}", b"999999999999}")))
            error = json.loads((await answer(stream)).body)["error"]
        assert error["code"] == "insufficient_quota"
        used = 1_000_000_000 - int(error["message"].split("has ")[1].split(" ")[0])
        await trio.sleep(2)  # for the usage file: a pause of its writer and a second
        with closing(sqlite3.connect(box.state / "s" / "usage.db")) as file:
            return bool(used == file.execute("SELECT sum(input + output) FROM days WHERE key = 'chaos'").fetchone()[0])

    with trio.fail_after(60):
        while not await whole():
            await trio.sleep(0.2)


async def test_a_flood_of_bad_keys_costs_a_good_key_of_the_same_address_nothing(box: Product) -> None:
    refused, good = 0, []

    async def guess() -> None:
        nonlocal refused
        async with await connect(box.port) as stream:
            while True:
                await stream.send_all(request("sk-guess", BODY))
                assert (await answer(stream)).status == 401
                refused += 1

    async with trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(guess)
        async with await connect(box.port) as stream:
            end = trio.current_time() + 3
            while trio.current_time() < end:
                began = trio.current_time()
                await stream.send_all(request("good", BODY))
                assert (await answer(stream)).status == 200
                good.append(trio.current_time() - began)
        nursery.cancel_scope.cancel()
    assert refused <= 10 + 200 * 3, "each waits for up to two seconds"
    assert sorted(good)[len(good) // 2] < 1, "as a refusal would wait"
