"""What breaks in a box of models, one fault at a time: what the client sees, what the operator sees, what comes back."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.product import Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
QUICK = "probe_interval = '200ms'"


def ask(box: Product, model: str = "m", **more: Any) -> httpx.Response:
    return box.post("/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": "hi"}], **more})


def state(box: Product, model: str = "m") -> dict[str, Any]:
    entry: dict[str, Any] = box.get("/readyz").json()["models"][model]
    return entry


def starts(box: Product, name: str = "m") -> int:
    """Processes that were started for a replica, as its log says."""
    return box.written().count(f'"replica": "{name}", "state": "starting"')


@pytest.mark.parametrize(
    ("fail", "says"),
    [
        ("architecture", "unknown model architecture"),
        ("bad_flag", "unrecognized arguments"),
        ("missing_model", "Repo id"),
    ],
)
def test_what_would_fail_again_is_started_once(tmp_path: Path, fail: str, says: str) -> None:
    with product(tmp_path, runtime("m", "--fail", fail, "--style", "llama.cpp")) as box:
        box.until(lambda: state(box)["state"] == "quarantined", 30)
        reply = ask(box)
        error = reply.json()["error"]
        assert (reply.status_code, error["code"], error["type"]) == (503, "model_quarantined", "overloaded")
        assert reply.headers["retry-after"] == "60"
        time.sleep(1)
        assert starts(box) == 1
        assert says in state(box)["reason"]


def test_out_of_memory_at_its_start_is_tried_once_more(tmp_path: Path) -> None:
    with product(tmp_path, runtime("m", "--fail", "oom")) as box:
        box.until(lambda: state(box)["state"] == "quarantined", 60)
        assert starts(box) == 2
        assert "out of memory" in state(box)["reason"].lower()


def test_a_crash_loop_has_growing_pauses_and_says_why(tmp_path: Path) -> None:
    with product(tmp_path, runtime("m", "--crash-after", "0.05"), QUICK) as box:
        box.until(lambda: starts(box) == 3, 60)
        box.until(lambda: state(box)["state"] == "backoff", 30)
        began = time.monotonic()
        assert "SIGKILL" in state(box)["reason"]
        box.until(lambda: starts(box) == 4, 60)
        assert time.monotonic() - began > 1  # the third pause is 2 to 4 s


def test_an_exit_with_code_0_after_it_was_ready_is_a_crash_and_it_is_back(tmp_path: Path) -> None:
    with product(tmp_path, runtime("m", "--engine-core", "--style", "vllm"), QUICK) as box:
        box.ready("m")
        core = max(box.engines())
        os.kill(core, signal.SIGKILL)
        box.until(lambda: starts(box) == 2, 60)
        box.ready("m")
        assert ask(box).status_code == 200


def test_a_dead_engine_with_a_living_parent_is_replaced(tmp_path: Path) -> None:
    flags = ("--engine-core", "--keep-corpse", "--style", "vllm")
    with product(tmp_path, runtime("m", *flags, extra="dead_limit = '1s'"), QUICK) as box:
        box.ready("m")
        os.kill(max(box.engines()), signal.SIGKILL)
        box.until(lambda: starts(box) == 2, 60)
        box.ready("m")
        assert ask(box).status_code == 200


def test_an_engine_that_hangs_while_its_health_is_well_is_replaced(tmp_path: Path) -> None:
    tables = runtime("m", "--hang-after", "1", extra="stall_limit = '1s'")
    with product(tmp_path, tables, f"{QUICK}\nfirst_byte_timeout = '20s'") as box, ThreadPoolExecutor(1) as pool:
        box.ready("m")
        assert ask(box).status_code == 200
        hanging = pool.submit(ask, box)
        box.until(lambda: starts(box) == 2, 60)
        reply = hanging.result()
        assert reply.status_code in {502, 503}
        box.ready("m")
        assert ask(box).status_code == 200
        box.said("no token has moved")


def test_a_busy_engine_whose_health_does_not_answer_is_left_alone(tmp_path: Path) -> None:
    flags = ("--health-hangs", "--token-delay", "0.1", "--tokens", "60")
    with product(tmp_path, runtime("m", *flags, extra="dead_limit = '1s'\nstall_limit = '2s'"), QUICK) as box:
        box.until(lambda: starts(box) == 1, 30)
        box.ready("m")
        with httpx.stream(
            "POST",
            f"{box.url}/v1/chat/completions",
            json={"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True},
            headers=box.headers,
            timeout=60,
        ) as reply:
            lines = list(reply.iter_lines())
        assert lines[-2:] == ["data: [DONE]", ""] or lines[-1] == "data: [DONE]"
        assert starts(box) == 1


def test_a_frozen_engine_is_seen_and_replaced(tmp_path: Path) -> None:
    with product(tmp_path, runtime("m", extra="dead_limit = '1s'\nstop_grace = '1s'"), QUICK) as box:
        box.ready("m")
        os.kill(min(box.engines()), signal.SIGSTOP)
        box.until(lambda: starts(box) == 2, 90)
        box.ready("m")
        assert ask(box).status_code == 200


def test_loading_tells_its_stage_and_a_stall_ends_it(tmp_path: Path) -> None:
    flags = ("--style", "vllm", "--load-seconds", "5", "--progress", "--stall-at", "60")
    with product(tmp_path, runtime("m", *flags, extra="load_stall = '3s'"), "load_wait = '1s'") as box:
        box.until(lambda: "shards" in state(box)["progress"], 30)
        error = ask(box).json()["error"]
        assert error["code"] == "model_loading"
        assert error["stage"] == "loading weights"
        box.until(lambda: starts(box) == 2, 60)
        box.said("load_stall")


def test_a_cold_model_is_started_once_for_two_hundred_requests(tmp_path: Path) -> None:
    tables = runtime("m", "--load-seconds", "2", extra="start = 'on-demand'")
    with product(tmp_path, tables) as box, ThreadPoolExecutor(200) as pool:
        replies = list(pool.map(lambda _: ask(box).status_code, range(200)))
        assert replies == [200] * 200
        assert starts(box) == 1


def test_an_idle_model_stops_and_comes_back_for_a_request(tmp_path: Path) -> None:
    with product(tmp_path, runtime("m", extra="start = 'on-demand'\nidle_stop = '1s'")) as box:
        assert ask(box).status_code == 200
        box.until(lambda: state(box)["state"] == "stopped", 30)
        assert box.engines() == []
        assert ask(box).status_code == 200
        assert starts(box) == 2


def test_two_models_that_may_not_be_loaded_together_take_turns(tmp_path: Path) -> None:
    extra = "start = 'on-demand'\nexclusive = 'big'"
    tables = runtime("a", "--tokens", "20", "--token-delay", "0.05", extra=extra) + runtime("b", extra=extra)
    with product(tmp_path, tables, "residence = '0s'") as box, ThreadPoolExecutor(8) as pool:
        running = pool.submit(ask, box, "a")
        box.until(lambda: state(box, "a")["state"] == "ready", 30)
        assert ask(box, "b").status_code == 200  # waits until `a` has answered
        assert running.result().status_code == 200
        assert state(box, "a")["state"] == "stopped"
        codes = list(pool.map(lambda number: ask(box, "ab"[number % 2]).status_code, range(8)))
        assert codes == [200] * 8
        assert [state(box, name)["state"] for name in "ab"].count("ready") == 1


def test_a_swap_that_fails_gives_the_old_model_its_place_back(tmp_path: Path) -> None:
    extra = "start = 'on-demand'\nexclusive = 'big'"
    tables = runtime("good", extra=extra) + runtime("bad", "--fail", "architecture", extra=extra)
    with product(tmp_path, tables, "residence = '0s'") as box:
        assert ask(box, "good").status_code == 200
        reply = ask(box, "bad")
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "model_quarantined")
        box.ready("good")
        box.said("take their place again")


def test_replicas_share_the_work_and_one_that_dies_takes_only_its_own(tmp_path: Path) -> None:
    with product(tmp_path, runtime("m", "--token-delay", "0.05", extra="replicas = 2"), QUICK) as box:
        box.until(lambda: starts(box, "m@1") + starts(box, "m@2") == 2 and state(box)["ready"], 60)
        with ThreadPoolExecutor(6) as pool:
            assert {reply.status_code for reply in pool.map(lambda _: ask(box), range(6))} == {200}
        os.kill(min(box.engines()), signal.SIGKILL)
        assert ask(box).status_code == 200  # the other one answers meanwhile
        box.until(lambda: starts(box, "m@1") + starts(box, "m@2") == 3, 60)


def test_a_flood_of_log_hurts_nobody(tmp_path: Path) -> None:
    with product(tmp_path, runtime("m", "--log-burst", "100") + runtime("n")) as box:
        box.ready("m", "n", wait=90)
        assert ask(box, "n").status_code == 200
        size = Path(f"/proc/{box.process.pid}/statm").read_text().split()[1]
        assert int(size) * 4096 < 300 * 2**20


def test_a_first_term_that_is_swallowed_does_not_delay_the_end(tmp_path: Path) -> None:
    with product(tmp_path, runtime("m", "--ignore-first-term", extra="stop_grace = '4s'")) as box:
        box.ready("m")
        started = time.monotonic()
        box.stop()
        assert time.monotonic() - started < 15
        assert box.engines() == []
        box.start()


def test_a_quarantined_model_comes_back_when_its_file_changes(tmp_path: Path) -> None:
    script = tmp_path / "engine.sh"
    script.write_text("#!/bin/sh\necho 'error: unknown model architecture: x'; exit 1\n")
    script.chmod(0o755)
    good = runtime("m").split("command = ")[1]
    tables = f'[[runtimes]]\nname = "m"\nengine = "command"\ncommand = ["{script}", "{{socket}}"]\n'
    with product(tmp_path / "box", tables) as box:
        box.until(lambda: state(box)["state"] == "quarantined", 30)
        words = good.split("]")[0].strip("[").replace('"{socket}"', '"$1"').replace(", ", " ")
        script.write_text(f"#!/bin/sh\nexec {words}\n")
        box.ready("m", wait=60)
        assert ask(box).status_code == 200
