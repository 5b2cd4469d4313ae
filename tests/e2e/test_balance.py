"""Which replica answers: who has read the beginning of a request, unless it has too much to do."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.product import Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
TABLES = """
[[models]]
name = "assistant"
targets = ["m"]
balance = "prefix"
"""


def ask(box: Product, text: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    body = {"model": "assistant", "messages": [{"role": "user", "content": text}], **more}
    with box.client() as client:
        return client.post(f"{box.url}/v1/chat/completions", json=body, headers=box.headers | (headers or {}))


def route(reply: httpx.Response) -> tuple[str, str]:
    assert reply.status_code == 200
    return reply.headers["x-gateway-replica"], reply.headers["x-gateway-balance"]


def test_requests_that_begin_alike_go_to_the_same_replica_and_others_spread(tmp_path: Path) -> None:
    tables = runtime("m", "--token-delay", "0.05", extra="replicas = 2") + TABLES
    with product(tmp_path, tables) as box:
        box.until(lambda: len(box.engines()) == 2 and len({route(ask(box, str(n)))[0] for n in range(8)}) == 2, 60)

        homes = {route(ask(box, f"Question {number}")) for number in range(16)}
        assert homes == {("m@1", "prefix"), ("m@2", "prefix")}

        home, _ = route(ask(box, "What is in this contract?"))
        body = {
            "model": "assistant",
            "messages": [
                {"role": "user", "content": "What is in this contract?"},
                {"role": "assistant", "content": "A sale."},
                {"role": "user", "content": "Of what?"},
            ],
        }
        assert route(box.post("/v1/chat/completions", body)) == (home, "prefix")

        sessions = {route(ask(box, f"Anything {number}", {"x-session-id": "s-1"})) for number in range(4)}
        keys = {route(ask(box, f"Anything {number}", prompt_cache_key="k-1")) for number in range(4)}
        assert (len(sessions), len(keys)) == (1, 1)

        with ThreadPoolExecutor(8) as pool:
            crowd = list(pool.map(lambda _: route(ask(box, "What is in this contract?")), range(8)))
        (other,) = {"m@1", "m@2"} - {home}
        assert set(crowd) == {(home, "prefix"), (other, "overflow")}, "a busy replica overflows"

        plain = box.post("/v1/chat/completions", body | {"model": "m"})
        assert plain.status_code == 404, "the runtime has a name of its own only where no model stands for it"
