"""A real Prometheus: the rules are right, and every panel of every dashboard shows something of a real run."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from dashboards.author.__main__ import FOLDER, PAGES
from tests.fakes.product import KEY, Product, free_port, product, runtime

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Prometheus (apt-get install prometheus)"),
]
RULES = FOLDER / "rules" / "appliance.rules.yml"
# What a short run without a network of GPUs, TLS or trouble at the door has none of.
MAY_BE_EMPTY = re.compile(
    r"appliance_(?:gpu|client_stalls|bad_requests|connections_refused|retries|replica_gpu|tokens_estimated|log_lines)"
    r"|cached|parameter_blocked|rate_limit_exceeded"
)
FAILING = '[[backends]]\nname = "gone"\nengine = "openai"\nurl = "http://127.0.0.1:9"\n'
GUARD = '[[guardrails]]\nname = "words"\nkind = "keywords"\nwords = ["forbidden"]\n'
MODEL = '[[models]]\nname = "guarded"\nkind = "chat"\ntargets = ["m"]\nguardrails = ["words"]\n'
AWAY = (
    '[[models]]\nname = "m"\nkind = "chat"\ntargets = ["m"]\n'
    '[[models]]\nname = "away"\nkind = "chat"\ntargets = ["gone/x"]\n'
)


def promtool(*words: str) -> str:
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_rules_and_each_alert_fires_and_is_silent_when_it_shall() -> None:
    assert "SUCCESS" in promtool("check", "rules", str(RULES))
    assert "SUCCESS" in promtool("test", "rules", str(FOLDER / "rules" / "tests" / "appliance.test.yml"))


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    line = runtime("narrow", "--token-delay", "0.05", extra="slots = 1")
    babbling = runtime("babbles", "--garbage", "http")
    tables = f"{runtime('m', '--tokens', '20', '--token-delay', '0.01')}\n{line}\n{babbling}\n{FAILING}\n{GUARD}\n{MODEL}\n{AWAY}"
    with product(tmp_path_factory.mktemp("box"), tables) as running:
        running.ready("m", "narrow", "babbles")
        yield running


@pytest.fixture(scope="module")
def prometheus(box: Product, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    (folder / "prometheus.yml").write_text(
        "global: { scrape_interval: 1s, evaluation_interval: 1s }\n"
        f"rule_files: [{RULES}]\n"
        f"scrape_configs: [{{ job_name: appliance, static_configs: [{{ targets: ['127.0.0.1:{box.port}'] }}] }}]\n"
    )
    promtool("check", "config", str(folder / "prometheus.yml"))
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client
    finally:
        process.terminate()
        process.wait(30)


def traffic(box: Product) -> None:
    chat = {"messages": [{"role": "user", "content": "hi"}]}
    headers = {"x-api-key": KEY}
    with httpx.Client(base_url=box.url, headers=headers, timeout=60) as client:
        client.post("/v1/chat/completions", json=chat | {"model": "m", "stream": True})
        client.post("/v1/chat/completions", json=chat | {"model": "m"})
        client.post("/v1/chat/completions", json=chat | {"model": "away"})
        client.post("/v1/chat/completions", json=chat | {"model": "nobody"})
        for _ in range(6):
            client.post("/v1/chat/completions", json=chat | {"model": "babbles"})
        client.post("/v1/chat/completions", json=chat | {"model": "m"}, headers={"x-api-key": "wrong"})
        bad = {"model": "guarded", "messages": [{"role": "user", "content": "a forbidden word"}]}
        assert client.post("/v1/chat/completions", json=bad).status_code == 400
        with client.stream("POST", "/v1/chat/completions", json=chat | {"model": "m", "stream": True}) as stream:
            next(stream.iter_raw())  # and leave
    narrow = chat | {"model": "narrow", "stream": True}
    many = [
        subprocess.Popen(
            ["curl", "-sN", f"{box.url}/v1/chat/completions", "-H", f"x-api-key: {KEY}", "-d", json.dumps(narrow)],
            stdout=subprocess.DEVNULL,
        )
        for _ in range(3)
    ]
    for process in many:
        process.wait(60)


def crash(box: Product, name: str) -> None:
    """Kill an engine while it answers, and wait for the next one."""
    chat = {"model": name, "messages": [{"role": "user", "content": "hi"}], "stream": True}
    with httpx.stream("POST", f"{box.url}/v1/chat/completions", json=chat, headers={"x-api-key": KEY}) as stream:
        lines = stream.iter_lines()
        next(lines)
        for pid in box.engines():
            if f"APPLIANCE_REPLICA={name}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                os.kill(pid, signal.SIGKILL)
        list(lines)
    box.ready(name)


def value(prometheus: httpx.Client, expression: str) -> list[object]:
    answer = prometheus.get("/api/v1/query", params={"query": expression})
    assert answer.status_code == 200, (expression, answer.text)
    return list(answer.json()["data"]["result"])


def test_every_panel_shows_something_of_a_real_run(box: Product, prometheus: httpx.Client) -> None:
    end = time.monotonic() + 25
    traffic(box)
    crash(box, "m")
    while time.monotonic() < end:
        traffic(box)
        crash(box, "m")
    empty = []
    for page in PAGES:
        for panel in json.loads(page.json())["panels"]:
            for target in panel.get("targets", ()):
                text = re.sub(r"\$__(rate_interval|interval|range)", "20s", target["expr"])
                text = text.replace("$instance", ".*").replace("$model", ".*")
                if not value(prometheus, text) and not MAY_BE_EMPTY.search(text):
                    empty.append((page.name, panel["title"], text))
    assert not empty, "\n".join(map(str, empty))


def test_the_page_of_metrics_is_as_promtool_likes_it(box: Product) -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=box.metrics(), capture_output=True, text=True, timeout=60, check=False
    )
    # names of OpenTelemetry and of Prometheus' own clients are as they are
    said = [line for line in (done.stdout + done.stderr).splitlines() if line and not line.startswith("process_")]
    assert said == []


def test_an_alert_fires_in_a_real_run(box: Product, prometheus: httpx.Client) -> None:
    config = box.config.read_text()
    box.config.write_text(config + "[[models]]\n")
    box.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + 60
    while not value(prometheus, 'ALERTS{alertname="ApplianceConfigRefused", alertstate="firing"}'):
        assert time.monotonic() < end
        time.sleep(0.5)
    box.config.write_text(config)
