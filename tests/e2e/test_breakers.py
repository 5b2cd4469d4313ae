"""Targets that fail again and again, and requests that kill their engine, as clients see them."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from tests.fakes.product import KEY, Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
ASK: list[Any] = [{"role": "user", "content": "hello"}]
CHAT = {"model": "m", "messages": ASK}
POISON = "zyzzyva"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    tables = "\n".join(
        [
            runtime("ill", "--status", "500"),
            runtime("bad", "--failures", "5"),
            runtime("well"),
            runtime("mortal", "--poison", POISON, "--token-delay", "0.1", "--tokens", "30"),
            '[[models]]\nname = "both"\ntargets = ["ill", "well"]\n',
            '[[models]]\nname = "one"\ntargets = ["ill"]\n',
        ]
    )
    with product(tmp_path_factory.mktemp("box"), tables) as running:
        running.ready("one", "bad", "both", "mortal")
        yield running


def sdk(box: Product, prefix: str = "/v1") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{box.url}{prefix}", api_key=KEY, max_retries=0, timeout=60)


def status_of(box: Product, model: str, content: str = "hello") -> tuple[int, str]:
    body = {"model": model, "messages": [{"role": "user", "content": content}]}
    reply = box.post("/v1/chat/completions", body)
    return reply.status_code, str(reply.json().get("error", {}).get("code", ""))


@pytest.mark.parametrize("prefix", ["/v1", "/api/client/v1"])
def test_503_provider_circuit_breaker_open(box: Product, prefix: str) -> None:
    for _ in range(6):
        status_of(box, "one")
    with sdk(box, prefix) as client:
        for _ in range(3):  # a probe may be due just now
            with pytest.raises(openai.InternalServerError) as caught:
                client.chat.completions.create(model="one", messages=ASK)
            if caught.value.status_code == 503:
                break
    error = caught.value
    assert (error.status_code, error.code, error.type) == (503, "circuit_open", "backend_unreachable")
    assert "circuit breaker open" in error.message
    assert 1 <= int(error.response.headers["retry-after"]) <= 10
    assert error.response.headers["x-error-source"] == "gateway"
    assert 'appliance_circuit_state{target="ill"}' in box.metrics()


def test_a_target_that_works_again_is_found_out_by_one_request(box: Product) -> None:
    assert [status_of(box, "bad")[0] for _ in range(5)] == [500] * 5
    assert status_of(box, "bad") == (503, "circuit_open")
    box.until(lambda: status_of(box, "bad")[0] == 200, 15)
    assert [status_of(box, "bad")[0] for _ in range(3)] == [200] * 3
    assert 'appliance_circuit_state{target="bad"} 0.0' in box.metrics()


def test_with_a_second_target_the_first_ones_circuit_costs_clients_nothing(box: Product) -> None:
    for _ in range(6):
        status_of(box, "one")
    assert [status_of(box, "both")[0] for _ in range(4)].count(200) >= 3  # but for a probe that may be due


def starts(box: Product) -> int:
    line = next(
        line
        for line in box.metrics().splitlines()
        if line.startswith("appliance_replica_restarts_total{") and '"mortal"' in line
    )
    return int(float(line.split()[-1]))


def under_way(box: Product) -> list[dict[str, Any]]:
    state: dict[str, Any] = box.ops("GET", "/state").json()
    return [one for one in state["requests"] if one["model"] == "mortal"]


def settled(box: Product, restarts: int) -> None:
    box.until(lambda: starts(box) == restarts, 30)
    box.ready("mortal")


def test_a_request_that_kills_its_engine_is_refused_and_nobody_else(box: Product) -> None:
    bystanders = [f"an innocent request, number {number}" for number in range(4)]

    def ask(content: str) -> tuple[int, str]:
        return status_of(box, "mortal", content)

    with ThreadPoolExecutor(8) as threads:
        begun = [threads.submit(ask, content) for content in bystanders]
        box.until(lambda: box.row("mortal")["busy"] == len(bystanders), 30)
        box.until(lambda: {one["phase"] for one in under_way(box)} == {"first_byte"}, 30)
        poisoned = ask(POISON)
        assert poisoned[0] == 502
        assert {one.result()[0] for one in begun} == {502}
        settled(box, 1)
        # Clients send all of it again, as the SDKs do; the suspects go in one at a time.
        again = [threads.submit(ask, content) for content in [*bystanders[:2], POISON, *bystanders[2:]]]
        ends = [one.result() for one in again]
    assert ends[2][0] == 502
    settled(box, 2)
    assert {end[0] for end in ends[:2] + ends[3:]} <= {200}
    with sdk(box) as client, pytest.raises(openai.UnprocessableEntityError) as caught:
        client.chat.completions.create(model="mortal", messages=[{"role": "user", "content": POISON}])
    assert caught.value.code == "request_quarantined"
    assert [ask(content)[0] for content in bystanders[:1]] == [200]
    assert starts(box) == 2
    said = [json.loads(line) for line in box.written().splitlines() if "crashed again" in line]
    assert len(said) == 1
    assert POISON not in box.log.read_text()
