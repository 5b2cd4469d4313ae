import os
import signal
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import trio

from appliance.config.schema import Runtime
from appliance.errors import OperatorError
from appliance.supervisor import cgroup, life, records
from appliance.supervisor.life import Life, Place
from appliance.supervisor.tree import become_subreaper, tagged
from appliance.supervisor.verdict import Cause

SLEEP = "import time; print('up', flush=True); time.sleep(60)"
LISTEN = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(60)"


def runtime(script: str = SLEEP, *words: str, **settings: Any) -> Runtime:
    return Runtime(
        name="m", engine="command", command=(sys.executable, "-c", script, *(words or ("{socket}",))), **settings
    )


def place(path: Path) -> Place:
    become_subreaper()
    run = path / "run"
    run.mkdir(exist_ok=True)
    return Place(str(uuid.uuid4()), path, run / "m.sock", path / "m.log", run)


async def end(own: Life) -> None:
    await own.end(0.5, lambda _: None)


async def test_a_process_from_its_start_to_the_proof_that_it_is_gone(tmp_path: Path) -> None:
    there = place(tmp_path)
    own = life.begin(runtime(), "m", there, None, trio.current_time())
    there.socket.touch()
    with trio.fail_after(10):
        while not own.tail.lines():
            own.tail.poll()
            await trio.sleep(0.02)
        assert len(tagged(there.instance)) == 1
        await end(own)
    assert tagged(there.instance) == set()
    assert not there.socket.exists()


async def test_what_cannot_be_started_says_why(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="program not found"):
        life.begin(Runtime(name="m", engine="command", command=("/no/such",)), "m", place(tmp_path), None, 0.0)


async def test_an_end_is_judged_by_its_code_and_its_last_words(tmp_path: Path) -> None:
    script = "print('torch.OutOfMemoryError: CUDA out of memory'); raise SystemExit(3)"
    own = life.begin(runtime(script), "m", place(tmp_path), None, trio.current_time())
    with trio.fail_after(10):
        await own.process.wait()
        verdict = own.verdict()
        await end(own)
    assert verdict.cause is Cause.OOM
    assert verdict.words.startswith("exit code 3: ")


async def test_nothing_is_sent_to_a_port_before_it_is_its_own(tmp_path: Path) -> None:
    own = life.begin(runtime(LISTEN, "{port}"), "m", place(tmp_path), None, trio.current_time())
    with trio.fail_after(20):
        first = await own.not_ours()
        while await own.not_ours():
            await trio.sleep(0.05)
        await end(own)
    assert first == "" or "nobody listens" in first


async def test_a_port_that_somebody_else_answers_is_not_ours(tmp_path: Path) -> None:
    squatter = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = squatter[0].socket.getsockname()[1]
    own = life.begin(runtime(SLEEP, str(port), "{port}"), "m", place(tmp_path), None, trio.current_time())
    own.endpoint = type(own.endpoint)(type(own.endpoint.address)("http", "127.0.0.1", port), own.endpoint.credential)
    with trio.fail_after(20):
        assert "not ours" in await own.not_ours()
        await end(own)
        await squatter[0].aclose()


async def test_the_next_run_takes_over_what_is_the_same_and_nothing_else(tmp_path: Path) -> None:
    there = place(tmp_path)
    own = life.begin(runtime(), "m", there, None, trio.current_time())
    key = own.endpoint.credential
    assert there.run_dir is not None
    records.save(there.run_dir, life.record_of(own, runtime(), "m", there, date=1.8e9, learned=4.0), key)
    (saved,) = records.load(there.run_dir)
    with trio.fail_after(20):
        changed = await life.adopt(runtime("pass"), there, saved, trio.current_time())
        again = await life.adopt(runtime(), there, saved, trio.current_time())
        assert changed == "its configuration has changed"
        assert isinstance(again, Life)
        assert again.process.adopted
        assert (again.process.pid, again.endpoint) == (own.process.pid, own.endpoint)
        again.process.release()
        os.kill(own.process.pid, 9)
        await end(own)
        gone = await life.adopt(runtime(), there, saved, trio.current_time())
    assert isinstance(gone, str)


async def test_without_its_key_nothing_is_taken_over(tmp_path: Path) -> None:
    there = place(tmp_path)
    own = life.begin(runtime(), "m", there, None, trio.current_time())
    saved = records.Saved(life.record_of(own, runtime(), "m", there, date=0, learned=0), None)
    with trio.fail_after(20):
        assert await life.adopt(runtime(), there, saved, trio.current_time()) == "its key is lost"
        await end(own)


@pytest.mark.parametrize(("counts", "cause"), [((7, 7, 7), Cause.CRASH), ((5, 5, 6), Cause.HOST_OOM)])
async def test_only_what_the_kernel_has_ended_lately_was_ended_for_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counts: tuple[int, ...], cause: Cause
) -> None:
    """Where it has no cgroup, what is counted is the whole machine's: a kill of last week says nothing about it."""
    counted = iter((5, *counts))
    monkeypatch.setattr(cgroup, "oom_kills_of_machine", lambda: next(counted))
    own = life.begin(runtime(), "m", place(tmp_path), None, trio.current_time())
    own.ready = trio.current_time()
    with trio.fail_after(10):
        for _ in counts[1:]:
            await own.look_around()
        os.kill(own.process.pid, signal.SIGKILL)
        await own.process.wait()
        assert own.verdict().cause is cause
        await end(own)
