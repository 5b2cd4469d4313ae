import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest


def engine_process(*flags: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "appliance", "_engine", *flags],
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def wait_for_line(process: "subprocess.Popen[str]", start: str) -> str:
    assert process.stdout is not None
    return next(line for line in process.stdout if line.startswith(start))


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def said(*flags: str, code: int) -> str:
    with engine_process(*flags) as process:
        out, _ = process.communicate(timeout=15)
        assert process.returncode == code
        return out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_and_removes_its_socket(number: signal.Signals, tmp_path: Path) -> None:
    with engine_process("--socket", str(tmp_path / "s")) as process:
        wait_for_line(process, "model loaded")
        process.send_signal(number)
        assert process.wait(5) == 0
    assert not (tmp_path / "s").exists()


def test_it_can_ignore_term() -> None:
    with engine_process("--ignore-term") as process:
        wait_for_line(process, "model loaded")
        process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.kill()


def test_it_can_swallow_the_first_term() -> None:
    with engine_process("--ignore-first-term") as process:
        wait_for_line(process, "model loaded")
        process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.terminate()
        assert process.wait(5) == 0


def test_it_can_exit_or_crash_by_itself_when_ready() -> None:
    assert "model loaded" in said("--exit-after-ready", "7", code=7)
    assert "model loaded" in said("--crash-after", "0.1", code=-signal.SIGKILL)


def test_it_tells_its_progress_and_fails_half_way_in_the_engines_words() -> None:
    out = said("--style", "vllm", "--progress", "--fail", "oom", "--load-seconds", "0.2", code=1)
    assert " 50% Completed" in out
    assert " 55% Completed" not in out
    assert "CUDA out of memory" in out
    assert "unrecognized arguments" in said("--fail", "bad_flag", code=2)


def test_it_can_stop_loading_for_ever() -> None:
    with engine_process("--progress", "--stall-at", "80", "--load-seconds", "0.1") as process:
        assert process.stdout is not None
        while "progress = 0.80" not in (line := process.stdout.readline()):
            assert line
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.kill()


def core_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return next(int(child) for child in children if b"EngineCore" in Path(f"/proc/{child}/cmdline").read_bytes())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_its_engine_core_outlives_a_kill_but_not_a_term() -> None:
    with engine_process("--engine-core") as process:
        wait_for_line(process, "model loaded")
        core = core_of(process.pid)
        process.kill()
        process.wait(5)
        assert alive(core)
        os.kill(core, signal.SIGKILL)
    with engine_process("--engine-core") as process:
        wait_for_line(process, "model loaded")
        core = core_of(process.pid)
        process.terminate()
        assert process.wait(5) == 0
        assert not alive(core)


def test_when_its_engine_core_dies_it_says_so_and_exits_with_success_or_stays() -> None:
    assert "EngineDeadError" in said("--engine-core", "--engine-core-lives", "0.1", code=0)
    with engine_process("--engine-core", "--engine-core-lives", "0.1", "--keep-corpse") as process:
        wait_for_line(process, "vllm.v1.engine.exceptions.EngineDeadError")
        assert process.poll() is None
        process.terminate()
        assert process.wait(5) == 0


def test_its_grandchild_is_in_a_session_of_its_own() -> None:
    with engine_process("--grandchild") as process:
        wait_for_line(process, "model loaded")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        (grandchild,) = [int(child) for child in children if os.getsid(int(child)) != process.pid]
        process.terminate()
        assert process.wait(5) == 0
        assert alive(grandchild)
        os.kill(grandchild, signal.SIGKILL)


def test_its_log_can_be_more_than_a_reader_would_like(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        command = [sys.executable, "-m", "appliance", "_engine", "--log-burst", "3", "--exit-after-ready", "0"]
        assert subprocess.run(command, stdout=file, timeout=20, check=False).returncode == 0
    assert log.stat().st_size > 2.9 * 2**20


@pytest.fixture
def gpu_file(tmp_path: Path) -> Path:
    path = tmp_path / "gpus.json"
    row = {"index": 0, "total": 2**31, "used": 0, "free": 2**31, "holders": []}
    path.write_text(json.dumps({"gpus": [row]}))
    return path


def used(file: Path) -> int:
    return int(json.loads(file.read_text())["gpus"][0]["used"])


def test_its_gpu_memory_is_free_again_only_some_time_after_it_was_killed(gpu_file: Path) -> None:
    with engine_process("--gpu-file", str(gpu_file), "--gpu-memory", "1024", "--gpu-release", "0.5") as process:
        wait_for_line(process, "model loaded")
        assert used(gpu_file) == 2**30
        time.sleep(1)  # the driver of the test must be up before the end, as a real one is
        process.kill()
        process.wait(5)
    assert used(gpu_file) == 2**30
    until(lambda: used(gpu_file) == 0)


def test_without_free_gpu_memory_it_fails_as_vllm_does(gpu_file: Path) -> None:
    out = said("--style", "vllm", "--gpu-file", str(gpu_file), "--gpu-memory", "4096", code=1)
    assert "Free memory on device" in out
