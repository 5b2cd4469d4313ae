import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from appliance.supervisor import proc, process
from appliance.supervisor.process import Process

# Starts a child that ends with the given code on its line of input, says its pid, and collects it.
KEEPER = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import sys; input(); sys.exit(int(sys.argv[1]))", sys.argv[1]])
print(child.pid, flush=True); child.wait()
"""


def sleeper() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["/bin/sleep", "60"])


@pytest.fixture
def keeper() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(
        [sys.executable, "-c", KEEPER, "7"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as popen:
        yield popen
        os.killpg(popen.pid, signal.SIGKILL)


def pid_of_child(keeper: "subprocess.Popen[bytes]") -> int:
    assert keeper.stdout
    return int(keeper.stdout.readline())


async def test_a_child_is_a_zombie_until_it_is_collected() -> None:
    popen = sleeper()
    child = Process.child(popen)
    assert [child.pid, child.adopted, child.ended, child.exit_code()] == [popen.pid, False, False, None]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(child.wait)
        nursery.start_soon(child.wait)
        await trio.testing.wait_all_tasks_blocked()
        child.signal(signal.SIGTERM)
    assert child.exit_code() == -15
    assert [child.holds_pid] == [True]
    assert proc.stat_of(child.pid) is not None
    child.collect()
    child.collect()
    assert proc.stat_of(child.pid) is None
    assert [child.holds_pid] == [False]
    assert child.exit_code() == -15
    assert popen.returncode == -15
    child.signal(signal.SIGKILL)
    await child.wait()


def test_the_handle_is_closed_by_collect_and_by_release() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    first, second = sleeper(), sleeper()
    child, left = Process.child(first), Process.child(second)
    first.kill()
    while not child.ended:
        pass
    child.collect()
    left.release()
    os.kill(second.pid, signal.SIGKILL)  # whoever is released goes on, and nobody here is told of its end
    assert os.waitpid(second.pid, 0)[1] == signal.SIGKILL
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_was_collected_behind_our_back_has_no_handle() -> None:
    popen = sleeper()
    popen.kill()
    popen.wait()
    with pytest.raises(OSError, match="collected"):
        Process.child(popen)
    with pytest.raises(ProcessLookupError):
        Process.of(popen.pid)


async def test_an_adopted_process_is_waited_for_and_signalled_like_a_child(keeper: "subprocess.Popen[bytes]") -> None:
    pid = pid_of_child(keeper)
    stat = proc.stat_of(pid)
    assert stat is not None
    adopted = Process.adopt(pid, stat.member.start, proc.boot_id())
    assert adopted is not None
    assert adopted.adopted
    assert adopted.exit_code() is None
    adopted.signal(signal.SIGTERM)
    with trio.fail_after(10):
        await adopted.wait()
    assert adopted.exit_code() in (-15, None), "None where the kernel does not tell"
    adopted.collect()


async def test_the_kernel_tells_an_adopted_exit_code_once_its_parent_has_it(keeper: "subprocess.Popen[bytes]") -> None:
    adopted = Process.of(pid_of_child(keeper))
    assert keeper.stdin
    keeper.stdin.write(b"\n")
    keeper.stdin.flush()
    with trio.fail_after(10):
        await adopted.wait()
    if (code := adopted.exit_code()) is None:
        pytest.skip("this kernel has no PIDFD_GET_INFO with exit codes (6.15)")
    assert code == 7
    adopted.release()


async def test_where_the_kernel_does_not_tell_the_code_is_unknown_and_waiting_still_ends(
    keeper: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_PIDFD_GET_INFO", 0)
    adopted = Process.of(pid_of_child(keeper))
    adopted.signal(signal.SIGKILL)
    with trio.fail_after(10):
        await adopted.wait()
    assert adopted.exit_code() is None
    adopted.collect()


@pytest.mark.parametrize("wrong", ["start", "boot", "no boot", "pid"])
def test_a_process_that_is_not_the_one_is_not_adopted(wrong: str) -> None:
    popen = sleeper()
    stat = proc.stat_of(popen.pid)
    assert stat is not None
    pid = 2**22 + 1 if wrong == "pid" else popen.pid
    boot = {"boot": "another", "no boot": ""}.get(wrong, proc.boot_id())
    assert Process.adopt(pid, stat.member.start + (wrong == "start"), boot) is None
    assert popen.poll() is None
    popen.kill()
    popen.wait()


def test_a_zombie_is_not_adopted() -> None:
    popen = subprocess.Popen(["/bin/true"])
    os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOWAIT)
    stat = proc.stat_of(popen.pid)
    assert stat is not None
    assert Process.adopt(popen.pid, stat.member.start, proc.boot_id()) is None
    popen.wait()
