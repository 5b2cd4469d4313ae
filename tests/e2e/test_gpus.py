"""Models and the memory of GPUs: a file stands for the driver, the engines are processes that claim from it."""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.product import Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
MIB = 2**20


class Driver:
    """The file."""

    def __init__(self, folder: Path, *free: int, total: int = 24_000) -> None:
        self.file = folder / "gpus.json"
        folder.mkdir(parents=True, exist_ok=True)
        self._gpus = [
            {"index": index, "total": total * MIB, "used": (total - size) * MIB, "free": size * MIB, "holders": []}
            for index, size in enumerate(free)
        ]
        self.write()

    def write(self, **more: Any) -> None:
        self._replace({"gpus": self._gpus} | more)

    def change(self, index: int, **more: Any) -> None:
        content = json.loads(self.file.read_text())
        content["gpus"][index] |= more
        self._replace(content)

    def hang(self, seconds: float) -> None:
        self._replace(json.loads(self.file.read_text()) | {"hang": seconds})

    def hold(self, index: int, size: int) -> None:
        """Somebody else takes memory: this very process."""
        gpu = json.loads(self.file.read_text())["gpus"][index]
        holder = {"pid": os.getpid(), "user": "ann", "command": "train.py", "bytes": size * MIB}
        self.change(
            index, used=gpu["used"] + size * MIB, free=gpu["free"] - size * MIB, holders=[*gpu["holders"], holder]
        )

    def let_go(self, index: int) -> None:
        gpu = json.loads(self.file.read_text())["gpus"][index]
        size = sum(holder["bytes"] for holder in gpu["holders"] if holder["pid"] == os.getpid())
        rest = [holder for holder in gpu["holders"] if holder["pid"] != os.getpid()]
        self.change(index, used=gpu["used"] - size, free=gpu["free"] + size, holders=rest)

    def _replace(self, content: dict[str, Any]) -> None:
        fresh = self.file.with_suffix(".test")
        fresh.write_text(json.dumps(content))
        fresh.replace(self.file)


def engine(driver: Driver, name: str, memory: int, *flags: str, extra: str = 'start = "on-demand"') -> str:
    claims = ("--gpu-file", str(driver.file), "--gpus", "{gpus}", "--gpu-memory", str(memory))
    return runtime(name, *claims, *flags, extra=extra)


def settings(driver: Driver, more: str = "", *, load_wait: str = "30s", residence: str = "0s") -> str:
    waits = f"load_wait = '{load_wait}'\nresidence = '{residence}'"
    return f"gpu_file = '{driver.file}'\nprobe_interval = '200ms'\n{waits}\n{more}"


def ask(box: Product, model: str) -> httpx.Response:
    return box.post("/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": "hi"}]})


def state(box: Product, model: str) -> dict[str, Any]:
    entry: dict[str, Any] = box.get("/readyz").json()["models"][model]
    return entry


def number(box: Product, series: str) -> float:
    lines = [line for line in box.metrics().splitlines() if line.startswith(f"{series} ")]
    return float(lines[0].rpartition(" ")[2])


def needs(box: Product, name: str) -> float:
    return number(box, f'appliance_replica_gpu_memory_bytes{{replica="{name}",runtime="{name}"}}')


def starts(box: Product, name: str) -> int:
    return box.written().count(f'"replica": "{name}", "state": "starting"')


def test_memory_that_somebody_else_holds_is_named_and_left_alone(tmp_path: Path) -> None:
    driver = Driver(tmp_path, 24_000)
    driver.hold(0, 20_000)
    with product(
        tmp_path,
        engine(driver, "m", 8_000, extra='start = "on-demand"\nmemory = "8GB"'),
        settings(driver, load_wait="5s"),
    ) as box:
        began = time.monotonic()
        reply = ask(box, "m")
        assert time.monotonic() - began > 4, "it might have become free"
        assert 5 <= int(reply.headers["retry-after"]) <= 60
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "model_blocked")
        message = reply.json()["error"]["message"]
        assert f"pid {os.getpid()} (ann, train.py, 19.5 GiB)" in message
        assert "GPU 0 has 3.9 GiB free" in message
        assert state(box, "m")["state"] == "blocked"
        assert starts(box, "m") == 0
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(ask, box, "m")
            time.sleep(0.5)
            driver.let_go(0)
            assert waiting.result().status_code == 200, "it came free in time"
        assert starts(box, "m") == 1


def test_memory_that_comes_back_late_is_waited_for_and_the_model_starts_once(tmp_path: Path) -> None:
    driver = Driver(tmp_path, 10_000, total=10_000)
    tables = engine(driver, "a", 8_000, "--gpu-release", "3", extra='start = "on-demand"\nmemory = "8000MB"')
    tables += engine(driver, "b", 8_000, extra='start = "on-demand"\nmemory = "8000MB"')
    with product(tmp_path, tables, settings(driver)) as box:
        assert ask(box, "a").status_code == 200
        began = time.monotonic()
        assert ask(box, "b").status_code == 200
        assert time.monotonic() - began > 2.5
        assert starts(box, "b") == 1
        assert state(box, "a")["state"] == "stopped"


def test_two_that_do_not_fit_together_take_turns_and_two_that_fit_stay(tmp_path: Path) -> None:
    driver = Driver(tmp_path, 10_000, total=10_000)
    tables = "".join(
        engine(driver, name, size, extra=f'start = "on-demand"\nmemory = "{size}MB"')
        for name, size in (("a", 6_000), ("b", 6_000), ("c", 3_000))
    )
    with product(tmp_path, tables, settings(driver)) as box:
        assert [ask(box, name).status_code for name in ("a", "c", "b", "c", "a")] == [200] * 5
        assert starts(box, "a") == 2
        assert starts(box, "c") == 1
        assert state(box, "b")["state"] == "stopped"
        more = [("d", 6_000), ("e", 20_000), ("f", 500)]
        fresh = "".join(engine(driver, name, size, extra=f'memory = "{size}MB"') for name, size in more)
        box.config.write_text(box.config.read_text() + fresh)
        told = box.ops("POST", "/reload?dry_run=1").json()["runtimes"]
        details = {change["runtime"]: change["detail"] for change in told if change["action"] == "add"}
        assert "fits on GPU 0 when these have gone: a (idle)" in details["d"]
        assert "does not fit now" in details["e"]
        assert "fits on GPU 0 now" in details["f"]
        assert "d" not in box.get("/readyz").json()["models"], "nothing of it is in effect"


def test_what_a_model_needs_is_learned_from_its_first_start(tmp_path: Path) -> None:
    driver = Driver(tmp_path, 10_000, total=10_000)
    tables = engine(driver, "a", 6_000) + engine(driver, "b", 3_000)
    with product(tmp_path, tables, settings(driver)) as box:
        assert ask(box, "a").status_code == 200
        box.until(lambda: needs(box, "a") == 6_000 * MIB, 30)
        assert ask(box, "b").status_code == 200  # unknown: it gets the GPU for itself
        assert state(box, "a")["state"] == "stopped"
        box.until(lambda: needs(box, "b") == 3_000 * MIB, 30)
        assert ask(box, "a").status_code == 200  # known: both fit
        assert state(box, "b")["state"] == "ready"
        box.until(lambda: number(box, 'appliance_gpu_memory_used_bytes{gpu="0"}') == 9_000 * MIB, 30)


def test_a_driver_that_hangs_stops_starts_and_nothing_else(tmp_path: Path) -> None:
    driver = Driver(tmp_path, 24_000)
    tables = engine(driver, "a", 1_000, extra='start = "on-demand"\nmemory = "1000MB"')
    tables += engine(driver, "b", 1_000, extra='start = "on-demand"\nmemory = "1000MB"')
    with product(tmp_path, tables, settings(driver, load_wait="3s")) as box:
        assert ask(box, "a").status_code == 200
        driver.hang(60)
        box.until(lambda: number(box, "appliance_gpu_driver_timeouts_total") > 0, 30)
        reply = ask(box, "b")
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "model_blocked")
        assert "GPU 0 does not answer" in reply.json()["error"]["message"]
        assert number(box, 'appliance_gpu_up{gpu="0"}') == 0
        assert "\nappliance_gpu_memory_used_bytes{" not in box.metrics()
        box.until(lambda: "\nappliance_replica_gpu_memory_used_bytes{" not in box.metrics(), 30)
        assert ask(box, "a").status_code == 200
        driver.hang(0)
        box.until(lambda: ask(box, "b").status_code == 200, 30)
        box.until(lambda: "\nappliance_gpu_memory_used_bytes{" in box.metrics(), 30)
        assert number(box, 'appliance_gpu_up{gpu="0"}') == 1


def test_a_gpu_that_falls_off_the_bus_is_left_and_the_model_goes_on_elsewhere(tmp_path: Path) -> None:
    driver = Driver(tmp_path, 24_000, 20_000)
    with product(tmp_path, engine(driver, "m", 1_000, extra='memory = "1000MB"'), settings(driver)) as box:
        box.ready("m")
        (before,) = box.engines()
        driver.change(0, xid=79)
        box.until(lambda: state(box, "m")["state"] == "ready" and before not in box.engines(), 60)
        assert ask(box, "m").status_code == 200
        holders = json.loads(driver.file.read_text())["gpus"][1]["holders"]
        assert [holder["pid"] for holder in holders] == box.engines()
        box.said("it has fallen off the bus (Xid 79)")


def test_with_nowhere_to_go_it_says_so(tmp_path: Path) -> None:
    driver = Driver(tmp_path, 24_000)
    slow = ("--token-delay", "0.1", "--tokens", "600")
    tables = engine(driver, "m", 1_000, *slow, extra='gpus = [0]\nmemory = "1000MB"')
    with product(tmp_path, tables, settings(driver, "drain = '1s'")) as box:
        box.ready("m")
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        with httpx.stream(
            "POST", f"{box.url}/v1/chat/completions", json=body, headers=box.headers, timeout=60
        ) as stream:
            lines = filter(None, stream.iter_lines())
            next(lines)
            driver.change(0, xid=79)
            last = list(lines)[-1]
        assert json.loads(last.removeprefix("data: "))["error"]["code"], "what runs there ends with an error"
        box.until(lambda: state(box, "m")["state"] == "blocked", 60)
        assert box.engines() == []
        reply = ask(box, "m")
        assert reply.status_code == 503
        assert "Xid 79" in reply.json()["error"]["message"]


def test_replicas_take_one_gpu_each_and_go_on_after_a_crash_of_the_appliance(tmp_path: Path) -> None:
    driver = Driver(tmp_path, 24_000, 24_000, 24_000)
    tables = engine(driver, "m", 1_000, extra='replicas = 2\ngpus = [0, 2]\nmemory = "1000MB"')
    box = Product(tmp_path, tables, settings(driver))
    box.start()
    try:
        box.until(lambda: len(box.engines()) == 2 and state(box, "m")["state"] == "ready", 60)

        def on(index: int) -> list[int]:
            return [one["pid"] for one in json.loads(driver.file.read_text())["gpus"][index]["holders"]]

        box.until(lambda: (len(on(0)), len(on(1)), len(on(2))) == (1, 0, 1), 30)
        before = box.engines()
        box.process.kill()
        box.process.wait()
        box.start()
        box.ready("m")
        box.said("taken over", 30)
        assert box.engines() == before
    finally:
        box.stop()


def test_a_crowd_for_a_cold_model_starts_it_once(tmp_path: Path) -> None:
    driver = Driver(tmp_path, 24_000)
    tables = engine(driver, "m", 1_000, extra='start = "on-demand"\nmemory = "1000MB"')
    with product(tmp_path, tables, settings(driver)) as box, ThreadPoolExecutor(40) as pool:
        replies = list(pool.map(lambda _: ask(box, "m").status_code, range(200)))
        assert replies == [200] * 200
        assert starts(box, "m") == 1


def test_a_model_that_was_placed_automatically_is_taken_over_with_its_gpu_and_counted_there(tmp_path: Path) -> None:
    driver = Driver(tmp_path, 4_000, 24_000)
    sized = 'start = "on-demand"\nmemory = "{}MB"'
    tables = engine(driver, "m", 8_000, extra=sized.format(8_000)) + engine(
        driver, "n", 20_000, extra=sized.format(20_000)
    )
    box = Product(tmp_path, tables, settings(driver))
    box.start()
    try:
        assert ask(box, "m").status_code == 200
        assert box.row("m")["gpus"] == [1]
        assert 0 <= box.row("m")["seconds"] < 120
        (before,) = box.engines()
        box.process.kill()
        box.process.wait()
        box.start()
        box.until(lambda: box.row("m")["state"] == "ready", 60)
        assert (box.row("m")["adopted"], box.row("m")["gpus"], box.row("m")["pid"]) == (True, [1], before)

        box.config.write_text(box.config.read_text() + engine(driver, "o", 20_000, extra=sized.format(20_000)))
        told = box.ops("POST", "/reload?dry_run=1").json()
        assert [change["detail"] for change in told["runtimes"]] == [
            "comes; it needs 18.6 GiB of GPU memory; fits on GPU 1 when these have gone: m (idle)"
        ]
        assert ask(box, "n").status_code == 200
        assert (box.row("n")["gpus"], box.row("m")["state"]) == ([1], "stopped")
    finally:
        box.stop()
    assert box.engines() == []


SLEEPER = """#!/bin/sh
while [ "$1" != "--uds" ]; do shift; done
exec {python} -m appliance _engine --style vllm --sleeps --model m --tokens 50 --token-delay 0.02 --socket "$2" {claims}
"""


def test_a_sleeper_gives_its_memory_back_wakes_for_a_request_and_is_known_after_a_crash(tmp_path: Path) -> None:
    driver = Driver(tmp_path, 10_000, total=10_000)
    claims = f'--gpu-file {driver.file} --gpus "$CUDA_VISIBLE_DEVICES" --gpu-memory 8000'
    script = tmp_path / "vllm"
    script.write_text(SLEEPER.format(python=sys.executable, claims=claims))
    script.chmod(0o755)
    tables = f'[[runtimes]]\nname = "m"\nengine = "vllm"\nbinary = "{script}"\nmodel = "/models/m"\nsleep = 1\n'
    tables += 'memory = "8000MB"\n' + engine(driver, "n", 8_000, extra='start = "on-demand"\nmemory = "8000MB"')
    box = Product(tmp_path, tables, settings(driver))
    box.start()
    try:
        box.ready("m")
        pid = box.row("m")["pid"]
        assert ask(box, "n").status_code == 200
        assert (box.row("m")["state"], box.row("m")["pid"]) == ("sleeping", pid), "it made room, and lives"
        assert ask(box, "m").status_code == 200
        assert (box.row("m")["pid"], box.row("n")["state"]) == (pid, "stopped")
        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(ask, box, "m")
            box.until(lambda: box.row("m")["busy"] == 1, 30)
            assert ask(box, "n").status_code == 200
            assert working.result().status_code == 200, "it has finished first"
        time.sleep(0.5)
        assert (box.row("m")["state"], box.row("m")["pid"]) == ("sleeping", pid)
        box.process.kill()
        box.process.wait()
        box.start()
        box.until(lambda: box.row("n")["state"] == "ready", 60)
        box.until(lambda: box.row("m")["state"] == "sleeping", 30)
        assert ask(box, "m").status_code == 200
        assert (box.row("m")["pid"], box.row("m")["adopted"]) == (pid, True)
    finally:
        box.stop()
    assert box.engines() == []
