"""The real vLLM on the CPU with a model of a megabyte: `make test-vllm` installs both and runs this.

A start takes about 40 s here, so what does not need a start of its own shares one.
"""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.fakes.constant_load import ENDED_WELL, changes, constant_load, stays
from tests.fakes.product import KEY, Product, product

PROGRAM = os.environ.get("VLLM_BIN") or shutil.which("vllm") or ""
MODEL = os.environ.get("VLLM_TINY_MODEL", "")
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.timeout(550),
    pytest.mark.skipif(not (PROGRAM and MODEL), reason="needs VLLM_BIN and VLLM_TINY_MODEL; see `make test-vllm`"),
]
START = 300.0  # seconds; measured 30 to 45
NAME = "tiny"
ASK = [{"role": "user", "content": "Count to ten"}]


def table(start: str = "boot", more: str = "", *, name: str = NAME) -> str:
    return f"""
[[runtimes]]
name = "{name}"
engine = "vllm"
binary = "{PROGRAM}"
model = "{MODEL}"
context = 2048
slots = 8
start = "{start}"
args = ["--enforce-eager"]
env = {{ VLLM_CPU_KVCACHE_SPACE = "1" }}
{more}
"""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with product(tmp_path_factory.mktemp("vllm"), table()) as running:
        began = time.monotonic()
        running.ready(NAME, wait=START)
        told("boot to ready", began)
        yield running


def told(what: str, began: float) -> None:
    print(f"{what}: {time.monotonic() - began:.1f} s")


@pytest.fixture
def client(real: Product) -> Iterator[openai.OpenAI]:
    real.ready(NAME, wait=START)
    with openai.OpenAI(base_url=f"{real.url}/v1", api_key=KEY, max_retries=0, timeout=120) as sdk:
        yield sdk


def chat(client: openai.OpenAI, **options: Any) -> Any:
    asked: dict[str, Any] = {"model": NAME, "messages": ASK, "max_tokens": 8} | options
    return client.chat.completions.create(**asked)


def endless(client: openai.OpenAI, about: str) -> Any:
    """A long stream. Each test asks for another one: what was under way in two crashes is refused for an hour."""
    ask = [{"role": "user", "content": f"Count to ten, {about}"}]
    return chat(client, messages=ask, stream=True, max_tokens=1500, extra_body={"ignore_eos": True})


def processes(real: Product) -> dict[str, int]:
    """The engine's processes by what they are: "api", "EngineCore", "Worker"."""
    found = {}
    for pid in real.engines():
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            if " serve " in line:
                found["api"] = pid
            elif line.startswith("VLLM::"):
                found[line.strip().removeprefix("VLLM::").split("_")[0]] = pid
    return found


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_it_serves_chat_whole_and_streamed_and_completions(client: openai.OpenAI) -> None:
    whole = chat(client)
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 8
    chunks = list(chat(client, stream=True))
    assert chunks[-1].choices[0].finish_reason == "length"
    assert client.completions.create(model=NAME, prompt="a b", max_tokens=4).usage is not None
    assert [model.id for model in client.models.list()] == [NAME]


def test_embeddings_are_told_to_be_unsupported(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        client.embeddings.create(model=NAME, input="x")
    assert refused.value.status_code == 422


def test_it_listens_on_a_socket_with_a_key_and_its_developer_routes_are_nowhere(real: Product) -> None:
    real.ready(NAME, wait=START)
    transport = httpx.HTTPTransport(uds=str(real.state / "s" / "run" / f"{NAME}.sock"))
    with httpx.Client(transport=transport, base_url="http://engine") as engine:
        assert engine.get("/v1/models").status_code == 401
        assert engine.post("/sleep").status_code == 404
    for path in ("/sleep", "/wake_up", "/is_sleeping", "/collective_rpc", "/v1/sleep", "/reset_prefix_cache"):
        assert real.post(path, {}).status_code in {404, 405}, path
    key = Path(f"/proc/{processes(real)['api']}/environ").read_bytes().partition(b"VLLM_API_KEY=")[2].split(b"\0")[0]
    everything = b"".join(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in real.engines())
    assert key not in everything
    assert key not in (real.state / "s" / "logs" / f"{NAME}.log").read_bytes()


def test_pictures_by_url_are_not_fetched(client: openai.OpenAI) -> None:
    picture = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x.png"}}
    with pytest.raises(openai.UnprocessableEntityError, match="must be inline"):
        chat(client, messages=[{"role": "user", "content": [picture]}])


@pytest.mark.parametrize("victim", ["api", "EngineCore", "Worker"])
def test_a_killed_process_takes_its_whole_tree_with_it_and_the_model_comes_back(
    real: Product, client: openai.OpenAI, victim: str
) -> None:
    before = real.engines()
    stream = iter(endless(client, victim))
    next(stream)
    began = time.monotonic()
    os.kill(processes(real)[victim], signal.SIGKILL)
    with pytest.raises(openai.APIError):
        list(stream)
    told(f"{victim} killed: the stream ended with an error after", began)
    real.until(lambda: all(gone(pid) for pid in before), 60)
    told(f"{victim} killed: its tree was gone after", began)
    real.ready(NAME, wait=START)
    told(f"{victim} killed: serving again after", began)
    assert chat(client).usage.completion_tokens == 8


def test_a_frozen_engine_goes_on_when_it_is_thawed(real: Product, client: openai.OpenAI) -> None:
    stream = iter(endless(client, "frozen"))
    next(stream)
    core = processes(real)["EngineCore"]
    os.kill(core, signal.SIGSTOP)
    try:
        time.sleep(2)
        assert real.get("/readyz").status_code == 200
    finally:
        os.kill(core, signal.SIGCONT)
    assert list(stream)[-1].choices[0].finish_reason == "length"


def test_a_killed_appliance_leaves_its_tree_serving_and_the_next_start_takes_it_over(real: Product) -> None:
    real.ready(NAME, wait=START)
    before = set(real.engines())
    real.process.kill()
    real.process.wait()
    transport = httpx.HTTPTransport(uds=str(real.state / "s" / "run" / f"{NAME}.sock"))
    with httpx.Client(transport=transport, base_url="http://engine") as engine:
        assert engine.get("/health").status_code == 200, "nobody looks after it, and it serves"
    began = time.monotonic()
    real.start()
    answer = real.post("/v1/chat/completions", {"model": NAME, "messages": ASK, "max_tokens": 2})
    told("appliance killed: from the next start to an answer", began)
    assert answer.json()["usage"]["completion_tokens"] == 2
    assert time.monotonic() - began < 15, "3 s are wanted; a start of its own would take longer than this"
    assert set(real.engines()) == before
    began = time.monotonic()
    assert real.stop(60) == 0
    told("TERM after an adoption: all gone after", began)
    assert real.engines() == []
    real.start()  # whoever comes next finds it as it was


def test_a_term_while_it_starts_ends_it_even_though_it_swallows_the_first(tmp_path: Path) -> None:
    with product(tmp_path, table(more='stop_grace = "5s"')) as starting:
        log = starting.state / "s" / "logs" / f"{NAME}.log"
        starting.until(lambda: log.exists() and b"EngineCore" in log.read_bytes(), START)
        began = time.monotonic()
        assert starting.stop(60) == 0
        told("TERM during its start: all gone after", began)


def test_on_demand_many_requests_are_one_start_and_the_end_finds_a_frozen_worker(tmp_path: Path) -> None:
    with product(tmp_path, table("on-demand"), 'load_wait = "5m"') as lazy:
        assert lazy.engines() == []
        began = time.monotonic()
        ask = {"model": NAME, "messages": ASK, "max_tokens": 2}
        curl = [
            *("curl", "-s", "-m", "280", "-H", f"authorization: Bearer {KEY}", "-H", "content-type: application/json"),
            *("-d", str(ask).replace("'", '"'), f"{lazy.url}/v1/chat/completions"),
        ]
        asking = [subprocess.Popen(curl, stdout=subprocess.PIPE) for _ in range(5)]
        answers = [process.communicate()[0] for process in asking]
        told("on demand: five requests answered after", began)
        assert all(b'"completion_tokens":2' in answer for answer in answers), answers
        log = (lazy.state / "s" / "logs" / f"{NAME}.log").read_bytes()
        assert log.count(b"Started server process") == 1
        os.kill(processes(lazy)["Worker"], signal.SIGSTOP)
        began = time.monotonic()
        assert lazy.stop(60) == 0
        told("TERM with a frozen worker: all gone after", began)


def asked(box: Product, name: str) -> None:
    body = {"model": name, "messages": ASK, "max_tokens": 2}
    answer = httpx.post(f"{box.url}/v1/chat/completions", json=body, headers=box.headers, timeout=START)
    assert answer.status_code == 200, answer.text


def test_what_is_idle_for_long_is_ended_and_the_next_request_starts_it_again(tmp_path: Path) -> None:
    with product(tmp_path, table("on-demand", 'idle_stop = "5s"'), 'load_wait = "5m"') as box:
        trees: list[set[int]] = []
        for turn in ("first", "second"):
            began = time.monotonic()
            asked(box, NAME)
            told(f"idle stop: the {turn} request was answered after", began)
            trees.append(set(box.engines()))
            began = time.monotonic()
            box.until(lambda: box.row(NAME)["state"] == "stopped", 60)
            told(f"idle stop: stopped again after its {turn} answer", began)
            assert time.monotonic() - began >= 4
            assert box.engines() == [], "stopped means that nothing is left"
            assert "idle for 5 s" in box.row(NAME)["reason"]
        assert trees[0]
        assert trees[1]
        assert not trees[0] & trees[1]


@pytest.mark.timeout(1500)
def test_two_that_exclude_each_other_take_turns_under_load_and_no_stream_is_cut(tmp_path: Path) -> None:
    residence = 8.0
    alone = 'exclusive = "gpu"'
    tables = table("on-demand", alone, name="one") + table("on-demand", alone, name="two")
    load: dict[str, Any] = {"clients": 2, "wait": 600, "max_tokens": 100, "ignore_eos": True}

    def came(name: str) -> int:
        return box.log.read_text().count(f'"replica": "{name}", "state": "ready"')

    with product(tmp_path, tables, f'load_wait = "9m"\nresidence = "{residence:g}s"') as box:
        began = time.monotonic()
        with constant_load(box, "one", **load) as of_one, constant_load(box, "two", **load) as of_two:
            for turn in (1, 2):
                box.until(lambda turn=turn: came("one") >= turn and came("two") >= turn, 600)
                told(f"swap: both have served {turn} times after", began)
        log = changes(box)
    ready = [row["replica"] for row in log if row["state"] == "ready"]
    print(f"swap: {len(of_one)} and {len(of_two)} streams, each ready for {[round(time, 1) for time in stays(log)]} s")
    assert {*of_one, *of_two} == {ENDED_WELL}, "no stream was cut, and everybody was answered"
    assert min(len(of_one), len(of_two)) >= 4
    assert all(one != other for one, other in itertools.pairwise(ready)), "they take turns"
    assert min(stays(log)) >= residence - 0.2, "each has its time"
    assert not [row for row in log if row["state"] == "backoff"]
