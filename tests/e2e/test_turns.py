"""Models that do not fit together and are asked for all the time: everybody is answered, and nobody is cut off."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.test_gpus import Driver, ask, engine, settings, starts, state
from tests.fakes.constant_load import ENDED_WELL, changes, constant_load, stays, stream
from tests.fakes.product import product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
RESIDENCE = 1.0
STREAM = ("--tokens", "40", "--token-delay", "0.02")


def test_a_model_that_is_never_idle_makes_room_for_one_that_is_asked_for_and_they_take_turns(tmp_path: Path) -> None:
    driver = Driver(tmp_path, 10_000, total=10_000)
    extra = 'start = "on-demand"\nmemory = "8000MB"'
    tables = engine(driver, "a", 8_000, *STREAM, extra=extra) + engine(driver, "b", 8_000, *STREAM, extra=extra)
    with product(tmp_path, tables, settings(driver, residence=f"{RESIDENCE}s")) as box:
        with constant_load(box, "a") as of_a:
            box.until(lambda: len(of_a) > 3, 30)
            began = time.monotonic()
            assert ask(box, "b").status_code == 200, "one request beside a constant load"
            assert time.monotonic() - began < 30
            box.until(lambda: state(box, "a")["state"] == "ready", 30)
            with constant_load(box, "b") as of_b:
                box.until(lambda: starts(box, "a") >= 3 and starts(box, "b") >= 2, 90)
            log = changes(box)
        ends = {*of_a, *of_b}
        assert ends == {ENDED_WELL}, "no stream was cut, and everybody was answered"
    assert min(stays(log)) >= RESIDENCE - 0.2, "each has its time"
    assert not [row for row in log if row["state"] == "backoff"], "nobody started before the memory was free"


def test_a_model_that_dies_while_it_loads_gives_the_room_back_before_it_is_tried_again(tmp_path: Path) -> None:
    extra = 'start = "on-demand"\nexclusive = "big"'
    tables = runtime("good", extra=extra) + runtime("bad", "--fail", "oom", extra=extra)
    with product(tmp_path, tables, f"residence = '{RESIDENCE}s'\nprobe_interval = '200ms'") as box:
        assert ask(box, "good").status_code == 200
        reply = ask(box, "bad")
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "model_quarantined")
        box.ready("good")
        starting = [row["replica"] for row in changes(box) if row["state"] == "starting"]
    assert starting == ["good", "bad", "good", "bad", "good"]


@pytest.mark.parametrize("order", ["drain", "unload"])
def test_what_drains_for_too_long_ends_with_an_error_that_says_so(tmp_path: Path, order: str) -> None:
    tables = runtime("m", "--tokens", "2000", "--token-delay", "0.05")
    with product(tmp_path, tables, "drain = '1s'\nprobe_interval = '200ms'") as box, ThreadPoolExecutor(2) as pool:
        box.ready("m")
        answer = pool.submit(stream, box, "m")
        whole = pool.submit(ask, box, "m")
        box.until(lambda: box.row("m")["busy"] == 2, 30)
        began = time.monotonic()
        assert box.ops("POST", f"/{order}/m").status_code == 200
        status, last = answer.result()
        assert 0.9 < time.monotonic() - began < 15
        error = json.loads(last.removeprefix("data: "))["error"]
        assert (status, error["code"], error["type"]) == ("200", "draining", "overloaded")
        assert 'The process of the model "m" is being stopped' in error["message"]
        assert (whole.result().status_code, whole.result().json()["error"]["code"]) == (503, "draining")
        box.until(lambda: box.engines() == [], 30)
