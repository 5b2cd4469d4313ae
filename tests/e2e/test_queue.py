"""More requests than slots, as those who wait see it."""

import contextlib
import hashlib
import json
import random
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import httpx
import openai
import pytest

from tests.fakes.product import Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
KEYS = {"heavy": "sk-heavy", "light": "sk-light", "admin": "sk-admin"}
ASK: list[Any] = [{"role": "user", "content": "hello"}]


def keys(**settings: str) -> str:
    return "\n".join(
        f'[[keys]]\nname = "{name}"\nhash = "sha256:{hashlib.sha256(text.encode()).hexdigest()}"\n'
        f"{settings.get(name, '')}"
        for name, text in KEYS.items()
    )


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    tables = "\n".join(
        [
            keys(admin='scopes = ["admin"]'),
            runtime("fair", "--tokens", "10", "--token-delay", "0.02", extra="slots = 2"),
            runtime("long", "--tokens", "40", "--token-delay", "0.1", extra="slots = 1"),
            runtime("cold", "--load-seconds", "1", extra='slots = 2\nstart = "on-demand"'),
            runtime("free", "--tokens", "5", "--token-delay", "0.05"),
        ]
    )
    server = "queue = 200\nqueue_wait = '60s'\n"
    with product(tmp_path_factory.mktemp("box"), tables, server) as running:
        running.ready("fair", "long", "free")
        yield running


def sdk(box: Product, key: str, prefix: str = "/v1") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{box.url}{prefix}", api_key=KEYS[key], max_retries=0, timeout=60)


def engine(box: Product, name: str) -> dict[str, Any]:
    with httpx.Client(transport=httpx.HTTPTransport(uds=box.socket_of(name))) as client:
        state: dict[str, Any] = client.get("http://x/_state").json()
        return state


def ended(box: Product, model: str) -> list[dict[str, Any]]:
    """The log lines of all exchanges with a model, with the seconds at which each began, had its slot and ended."""
    found = [json.loads(line) for line in box.log.read_text().splitlines() if '"exchange"' in line]
    lines = [line for line in found if line["model"] == model]
    for line in lines:
        line["end"] = datetime.fromisoformat(line["time"]).timestamp()
        line["begin"] = line["end"] - line["duration_s"]
        line["served"] = line["begin"] + line["queued_s"]
    return lines


def test_a_key_with_a_hundred_requests_does_not_hold_up_another(box: Product) -> None:
    with contextlib.ExitStack() as stack, sdk(box, "light") as client:
        for _ in range(100):
            heavy = stack.enter_context(socket.create_connection(("127.0.0.1", box.port)))
            heavy.sendall(request("fair", stream=False, key="heavy"))
        box.until(lambda: depth(box, "fair") > 20, 30)
        for _ in range(3):
            client.chat.completions.create(model="fair", messages=ASK)
        box.until(lambda: len(ended(box, "fair")) == 103, 60)
    lines = ended(box, "fair")
    assert {line["status"] for line in lines} == {200}
    light = [line for line in lines if line["key"] == "light"]
    assert len(light) == 3
    for mine in light:
        # It waited for a slot to become free, and perhaps for one other request: not for the line.
        before = [line for line in lines if mine["begin"] < line["end"] <= mine["served"]]
        assert len(before) <= 5
    assert max(line["queued_s"] for line in lines) > 0.5
    assert engine(box, "fair")["most"] == 2
    assert depth(box, "fair") == 0
    state = httpx.get(f"{box.url}/ops/v1/state", headers={"x-api-key": KEYS["admin"]}).json()
    assert {"runtime": "fair", "slots": 2, "running": 0, "waiting": 0} in state["queues"]
    assert (state["circuits"], state["suspects"]) == ([], {"suspected": 0, "refused": 0})


def depth(box: Product, target: str) -> float:
    line = next(
        line for line in box.metrics().splitlines() if line.startswith(f'appliance_queue_depth{{target="{target}"}}')
    )
    return float(line.split()[1])


def test_without_slots_nobody_waits(box: Product) -> None:
    with ThreadPoolExecutor(8) as threads:
        replies = list(
            threads.map(
                lambda _: box.post("/v1/chat/completions", {"model": "free", "messages": ASK}).status_code, range(8)
            )
        )
    assert replies == [200] * 8
    assert engine(box, "free")["most"] > 2
    assert not re.search(r'^appliance_queue_\w+\{target="free"', box.metrics(), re.MULTILINE)


def test_many_for_a_cold_model_stand_in_line_too(box: Product) -> None:
    with ThreadPoolExecutor(20) as threads:
        replies = list(
            threads.map(
                lambda _: box.post("/v1/chat/completions", {"model": "cold", "messages": ASK}).status_code, range(20)
            )
        )
    assert replies == [200] * 20
    assert engine(box, "cold")["most"] == 2


def request(model: str, *, stream: bool = True, key: str = "light") -> bytes:
    body = json.dumps({"model": model, "messages": ASK, "stream": stream}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEYS[key]}\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


def test_whoever_leaves_the_line_gives_its_place_back(box: Product) -> None:
    with socket.create_connection(("127.0.0.1", box.port)) as first:
        first.sendall(request("long"))
        assert first.recv(10)
        with socket.create_connection(("127.0.0.1", box.port)) as second:
            second.sendall(request("long"))
            box.until(lambda: depth(box, "long") == 1, 10)
        box.until(lambda: depth(box, "long") == 0, 5)
        assert 'appliance_client_disconnects_total{model="long",phase="queued"} 1.0' in box.metrics()


def test_a_storm_of_clients_that_leave_whenever_they_like_leaves_nothing_behind(box: Product) -> None:
    chance = random.Random(3)

    def one(_: int) -> None:
        with socket.create_connection(("127.0.0.1", box.port)) as client:
            client.sendall(request("fair", stream=chance.random() < 0.5))
            time.sleep(chance.uniform(0, 0.3))

    with ThreadPoolExecutor(50) as threads:
        list(threads.map(one, range(500)))
    box.until(lambda: 'appliance_requests_in_flight{model="fair"} 0.0' in box.metrics(), 20)
    assert depth(box, "fair") == 0
    assert engine(box, "fair")["running"] == 0
    with ThreadPoolExecutor(2) as threads:  # and both slots work
        assert list(
            threads.map(
                lambda _: box.post("/v1/chat/completions", {"model": "fair", "messages": ASK}).status_code, range(2)
            )
        ) == [200, 200]


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    tables = keys() + runtime("m", "--tokens", "20", "--token-delay", "0.1", extra="slots = 1")
    with product(tmp_path_factory.mktemp("narrow"), tables, "queue = 2\nqueue_wait = '1s'\n") as running:
        running.ready("m")
        yield running


@pytest.mark.parametrize("prefix", ["/v1", "/api/client/v1"])
def test_a_wait_that_is_too_long_is_a_503_with_a_time_and_a_place(narrow: Product, prefix: str) -> None:
    with socket.create_connection(("127.0.0.1", narrow.port)) as first, sdk(narrow, "light", prefix) as client:
        first.sendall(request("m"))
        assert first.recv(10)
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(model="m", messages=ASK)
    error = caught.value
    assert (error.status_code, error.code, error.type) == (503, "queue_timeout", "overloaded")
    assert 1 <= int(error.response.headers["retry-after"]) <= 60
    assert error.body["position"] == 1  # type: ignore[index]


def test_a_full_line_is_a_503_at_once(narrow: Product) -> None:
    with ThreadPoolExecutor(8) as threads:
        replies = list(
            threads.map(lambda _: narrow.post("/v1/chat/completions", {"model": "m", "messages": ASK}), range(8))
        )
    codes = [reply.json()["error"]["code"] for reply in replies if reply.status_code == 503]
    assert codes.count("queue_full") == 5
    assert all("retry-after" in reply.headers for reply in replies if reply.status_code == 503)


def test_waiting_streams_can_be_kept_alive_and_reload_switches_it(narrow: Product) -> None:
    narrow.config.write_text(
        narrow.config.read_text().replace("queue_wait = '1s'", "queue_wait = '20s'\nqueue_keepalive = true")
    )
    narrow.process.send_signal(1)
    narrow.said("settings: server.queue_wait, server.queue_keepalive", 10)
    with socket.create_connection(("127.0.0.1", narrow.port)) as first:
        first.sendall(request("m"))
        assert first.recv(10)
        url = f"{narrow.url}/v1/chat/completions"
        body = {"model": "m", "messages": ASK, "stream": True}
        with httpx.stream("POST", url, json=body, headers={"x-api-key": KEYS["heavy"]}, timeout=30) as reply:
            assert reply.status_code == 200
            lines = reply.iter_lines()
            assert next(lines) == ": keep-alive"
            assert depth(narrow, "m") == 1
            first.close()  # its engine stops, and it is our turn
            rest = list(lines)
    assert [line for line in rest if line][-1] == "data: [DONE]"
    with sdk(narrow, "light") as client:
        holder = client.chat.completions.create(model="m", messages=ASK, stream=True)
        next(iter(holder))
        with sdk(narrow, "heavy") as other:
            text = "".join(
                chunk.choices[0].delta.content or ""
                for chunk in other.chat.completions.create(model="m", messages=ASK, stream=True)
                if chunk.choices
            )
        assert len(text.split()) == 20
