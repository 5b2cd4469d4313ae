"""Processes that are killed, stopped, frozen or flooded: what their clients see, what the operator sees, what comes back.

Every test has a model beside the one that breaks, and that one must not notice.
"""

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.e2e.test_faults import QUICK, ask, starts, state
from tests.e2e.test_gpus import Driver
from tests.fakes.product import Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.usefixtures("beside")]
LONG = ("--token-delay", "0.1", "--tokens", "300")
FREEZER = Path("/sys/fs/cgroup/freezer")
MEMORY = Path("/sys/fs/cgroup/memory")


@contextmanager
def streaming(box: Product, model: str) -> Iterator[Iterator[str]]:
    """The lines of a stream whose first token has arrived."""
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": True}
    with httpx.stream("POST", f"{box.url}/v1/chat/completions", json=body, headers=box.headers, timeout=120) as reply:
        lines = (line for line in reply.iter_lines() if line)
        next(lines)
        yield lines


def short(box: Product, model: str = "m") -> int:
    """The status of a request for two tokens."""
    return ask(box, model, max_tokens=2).status_code


def whole(box: Product, model: str) -> list[str]:
    with streaming(box, model) as lines:
        return list(lines)


def code_of(lines: list[str]) -> str:
    """The code of the error with which a stream ended; such a stream never looks complete."""
    assert "data: [DONE]" not in lines
    code: str = json.loads(lines[-1].removeprefix("data: "))["error"]["code"]
    return code


def gone(*pids: int) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def restarts(box: Product, reason: str, name: str = "m") -> bool:
    return (
        f'appliance_replica_restarts_total{{reason="{reason}",replica="{name}",runtime="{name}"}} 1.0' in box.metrics()
    )


@contextmanager
def cgroup(home: Path, name: str) -> Iterator[Path]:
    """A version 1 cgroup of our own; its processes are moved out at the end."""
    place = home / f"appliance-test-{os.getpid()}-{name}"
    try:
        place.mkdir()
    except OSError as error:
        pytest.skip(f"no version 1 cgroup can be made in {home}: {error.strerror}")
    try:
        yield place
    finally:
        for _ in range(100):
            for pid in (place / "cgroup.procs").read_text().split():
                with suppress(OSError):  # it has ended
                    (home / "cgroup.procs").write_text(pid)
            try:
                place.rmdir()
                break
            except OSError:
                time.sleep(0.05)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A model for each fault, and one beside them that no fault may touch; one is frozen all the time."""
    quick = "dead_limit = '2s'\nstall_limit = '2s'\nstop_grace = '1s'"
    core = ("--engine-core", "--style", "vllm", *LONG)
    tables = "".join(
        [
            runtime("beside", "--token-delay", "0.1", "--tokens", "40", extra="gpus = []"),
            runtime("killed", *core, extra="gpus = []"),
            runtime("hollow", *core, extra="gpus = []"),
            runtime("stopped", *LONG, extra=f"{quick}\ngpus = []"),
            runtime("loop", "--exit-after-ready", "0", extra="gpus = []"),
            runtime("fat", extra="gpus = []"),
            runtime("frozen", extra=f"{quick}\ngpus = [0]\nmemory = '1GB'"),
            runtime("neighbour", extra="start = 'on-demand'\ngpus = [0]\nmemory = '1GB'"),
        ]
    )
    folder = tmp_path_factory.mktemp("box")
    server = f"gpu_file = '{Driver(folder, 24_000).file}'\n{QUICK}\nbetween_bytes_timeout = '3s'\nload_wait = '8s'"
    with product(folder, tables, server) as running, ExitStack() as thawed:
        running.ready("beside", "killed", "hollow", "stopped", "fat", "frozen")
        if (FREEZER / "cgroup.procs").exists():
            place = thawed.enter_context(cgroup(FREEZER, "kill"))
            thawed.callback((place / "freezer.state").write_text, "THAWED")
            (place / "cgroup.procs").write_text(str(running.pids("frozen")[0]))
            (place / "freezer.state").write_text("FROZEN")
        yield running


@pytest.fixture
def beside(box: Product) -> Iterator[None]:
    """While the fault happens, another model streams to its end."""
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(whole, box, "beside")
        yield
        assert "data: [DONE]" in other.result()


def test_a_killed_server_takes_the_engine_with_it_that_would_outlive_it(box: Product) -> None:
    tree = box.pids("killed")
    assert len(tree) == 2
    with streaming(box, "killed") as lines:
        os.kill(tree[0], signal.SIGKILL)
        killed = time.monotonic()
        assert code_of(list(lines)) == "backend_died"
        assert time.monotonic() - killed < 5
    assert short(box, "killed") == 200, "it waits for the next process, which starts at once"
    assert gone(*tree), "the engine process, which holds the GPU, would go on for ever"
    assert restarts(box, "crash", "killed")
    row = box.row("killed")
    assert (row["state"], row["starts"], row["restarts"]) == ("ready", 2, 1)
    box.said("SIGKILL")


def test_a_killed_engine_under_a_server_that_then_calls_it_success(box: Product) -> None:
    tree = box.pids("hollow")
    with streaming(box, "hollow") as lines:
        os.kill(tree[1], signal.SIGKILL)
        rest = list(lines)
    assert '"error"' in "".join(rest), "the engine's own words"
    assert "data: [DONE]" not in rest
    box.until(lambda: starts(box, "hollow") == 2, 30)
    box.ready("hollow")
    assert short(box, "hollow") == 200
    assert gone(*tree)
    assert restarts(box, "engine_dead", "hollow")


def test_a_stopped_server_is_silent_then_replaced(box: Product) -> None:
    (before,) = box.pids("stopped")
    with streaming(box, "stopped") as lines:
        os.kill(before, signal.SIGSTOP)
        assert code_of(list(lines)) == "backend_timeout"
    box.until(lambda: starts(box, "stopped") == 2, 60)
    box.ready("stopped")
    assert short(box, "stopped") == 200
    assert gone(before)


@pytest.mark.skipif(not (MEMORY / "cgroup.procs").exists(), reason="this machine has no version 1 memory cgroups")
def test_one_that_the_kernel_ends_for_its_memory_is_told_apart_from_a_crash(box: Product) -> None:
    with cgroup(MEMORY, "oom") as place:
        (place / "memory.limit_in_bytes").write_text(str(8 * 2**20))
        (before,) = box.pids("fat")
        (place / "cgroup.procs").write_text(str(before))
        body = {"model": "fat", "messages": [{"role": "user", "content": "x" * 24 * 2**20}]}
        reply = box.post("/v1/chat/completions", body)
        assert reply.status_code == 502
        assert reply.json()["error"]["code"] in {"backend_died", "backend_unreachable"}, "it may die while it reads"
        box.until(lambda: starts(box, "fat") == 2, 30)
        box.ready("fat")
        assert short(box, "fat") == 200, "the next process is not in that cgroup"
        assert gone(before)
        assert restarts(box, "host_oom", "fat")


@pytest.mark.skipif(not (FREEZER / "cgroup.procs").exists(), reason="this machine has no version 1 freezer")
def test_what_even_kill_does_not_end_is_named_and_holds_up_nobody_else(box: Product) -> None:
    (frozen,) = box.pids("frozen")
    box.until(lambda: f"do not end even when killed: {frozen}" in box.row("frozen")["reason"], 60)
    assert starts(box, "frozen") == 1, "its memory is not free, so nothing is started in its place"
    reply = ask(box, "frozen")
    assert reply.status_code == 503
    assert int(reply.headers["retry-after"]) >= 1
    blocked = ask(box, "neighbour")
    assert (blocked.status_code, blocked.json()["error"]["code"]) == (503, "model_blocked")
    assert "GPU 0 is held by processes of frozen that do not end" in blocked.json()["error"]["message"]
    box.until(lambda: box.ops("POST", "/restart/beside").json()["ok"], 60)
    (place,) = FREEZER.glob(f"appliance-test-{os.getpid()}-kill")
    (place / "freezer.state").write_text("THAWED")
    box.until(lambda: gone(frozen), 30)
    assert short(box, "frozen") == 200
    assert short(box, "neighbour") == 200


def test_one_that_exits_with_0_again_and_again_is_left_alone_after_five_more_starts(box: Product) -> None:
    box.until(lambda: state(box, "loop")["state"] == "quarantined", 90)
    assert starts(box, "loop") == 6
    row = box.row("loop")
    assert row["restarts"] == 6
    assert "exit code 0" in row["reason"]
    error = ask(box, "loop").json()["error"]
    assert error["code"] == "model_quarantined"
    assert "exit code 0" in error["message"]
    assert box.ops("POST", "/load/loop").json()["changed"], "the operator may always try"
    box.until(lambda: starts(box, "loop") >= 7, 30)
