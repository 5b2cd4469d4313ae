import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from appliance.errors import OperatorError
from appliance.supervisor.cgroup import Leaf
from appliance.supervisor.process import Process
from appliance.supervisor.spawn import collect, exit_code, exit_words, launch, spawn, wait_exit

SCRIPT = "import os,sys; print(os.getsid(0) == os.getpid(), sorted(os.environ)); sys.exit(3)"


async def test_a_child_leads_its_session_writes_to_its_own_file_and_sees_only_its_environment(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("before\n")
    process = spawn([sys.executable, "-c", SCRIPT], {"ONLY": "1", "LC_CTYPE": "C.UTF-8"}, log)
    with trio.fail_after(3):
        await wait_exit(process)
    assert exit_code(process) == 3
    assert process.returncode is None, "still uncollected"
    collect(process)
    assert exit_code(process) == 3
    assert log.read_text().splitlines() == ["before", "True ['LC_CTYPE', 'ONLY']"]


async def test_a_child_may_have_a_limit_of_open_files_of_its_own(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    script = "import resource, time; time.sleep(0.5); print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    process = spawn([sys.executable, "-c", script], {}, tmp_path / "x.log", open_files=(300, hard))
    with trio.fail_after(10):
        await wait_exit(process)
    collect(process)
    assert (tmp_path / "x.log").read_text() == "300\n"


@pytest.mark.parametrize(("ours", "theirs"), [("-500", "0"), ("300", "300")])
def test_a_child_has_no_protection_of_ours_from_the_out_of_memory_killer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: str, theirs: str
) -> None:
    mine, told = Path("/proc/self/oom_score_adj"), tmp_path / "oom_score_adj"
    told.write_text(ours)
    monkeypatch.setattr("appliance.supervisor.spawn._PROTECTION", told)  # only a machine's root may really have -500
    before = mine.read_text()
    mine.write_text("300")
    try:
        process = spawn(["/bin/sh", "-c", "sleep 0.3; /bin/cat /proc/self/oom_score_adj"], {}, tmp_path / "x.log")
    finally:
        mine.write_text(before)
    assert process.wait(10) == 0
    assert (tmp_path / "x.log").read_text().strip() == theirs, "its own children have it too"


async def test_a_new_log_is_private_and_a_running_child_has_no_exit_code(tmp_path: Path) -> None:
    process = spawn(["/bin/sleep", "9"], {}, tmp_path / "x.log")
    assert stat.S_IMODE((tmp_path / "x.log").stat().st_mode) == 0o600
    assert exit_code(process) is None
    os.kill(process.pid, 9)
    with trio.fail_after(3):
        await wait_exit(process)
    assert exit_code(process) == -9
    collect(process)


@pytest.mark.parametrize(("mode", "reason"), [(None, "program not found"), (0o644, "not executable")])
def test_a_program_that_cannot_be_started_has_a_reason(tmp_path: Path, mode: int | None, reason: str) -> None:
    program = tmp_path / "engine"
    if mode is not None:
        program.touch(mode=mode)
    with pytest.raises(OperatorError, match=reason):
        spawn([str(program)], {}, tmp_path / "log")


@pytest.mark.parametrize(("mode", "reason"), [(None, "program not found"), (0o644, "not executable")])
def test_the_reason_is_the_same_with_a_cgroup(tmp_path: Path, mode: int | None, reason: str) -> None:
    program = tmp_path / "engine"
    if mode is not None:
        program.touch(mode=mode)
    with pytest.raises(OperatorError, match=reason):
        launch([str(program)], {}, tmp_path / "log", leaf=Leaf(tmp_path))
    assert not (tmp_path / "log").exists(), "nothing was started"


def test_what_cannot_be_watched_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def full(child: "subprocess.Popen[bytes]") -> Process:
        started.append(child)
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Process, "child", full)
    with pytest.raises(OperatorError, match="cannot watch /bin/sleep: Too many open files"):
        launch(["/bin/sleep", "60"], {}, tmp_path / "log")
    assert started[0].returncode == -9


def test_a_log_that_cannot_be_written_has_a_reason(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="cannot write the log"):
        spawn(["/bin/true"], {}, tmp_path / "absent" / "log")


def test_exit_codes_read_as_words() -> None:
    assert exit_words(0) == "exit code 0"
    assert exit_words(-9) == "killed by signal 9 (SIGKILL)"
    assert exit_words(-50) == "killed by signal 50"
    assert exit_words(None) == "ended"
