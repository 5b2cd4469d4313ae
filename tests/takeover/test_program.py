import os
import resource
import signal
import socket
import sys
from pathlib import Path

import trio

from appliance.supervisor.proc import processes
from appliance.supervisor.tree import tagged
from appliance.takeover import program
from tests.fakes.program import script

CLEAN = {"PATH": os.defpath}


def test_it_sees_what_we_were_started_with_and_nothing_of_our_bundle() -> None:
    environ = {
        "API_KEYS": "k",
        "NOTIFY_SOCKET": "/run/n",
        "WATCHDOG_USEC": "3",
        "WATCHDOG_PID": "7",
        "LD_LIBRARY_PATH": "/tmp/_MEI1",
        "_PYI_ARCHIVE_FILE": "/a",
        "_MEIPASS2": "/b",
    }
    kept = {"API_KEYS": "k", "NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "3"}
    reset = {"PYINSTALLER_RESET_ENVIRONMENT": "1"}
    assert program.environment_of(environ, frozen=True) == kept | reset
    original = environ | {"LD_LIBRARY_PATH_ORIG": "/cuda"}
    assert program.environment_of(original, frozen=True) == kept | reset | {"LD_LIBRARY_PATH": "/cuda"}
    assert program.environment_of(environ, frozen=False) == kept | {"LD_LIBRARY_PATH": "/tmp/_MEI1"}


def test_what_cannot_be_run_is_said(tmp_path: Path) -> None:
    assert program.unusable("appliance") == "its whole path is needed"
    assert program.unusable(str(tmp_path)) == "there is no such file"
    plain = tmp_path / "plain"
    plain.write_text("")
    assert "may not be executed" in program.unusable(str(plain))
    assert program.unusable(sys.executable) == ""


async def test_its_standard_input_is_the_conversation(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    process = program.start([script(tmp_path, "cat <&0 >&0")], CLEAN, talk=theirs, open_files=(512, 1024))
    theirs.close()
    ours.sendall(b"hello")
    assert await trio.to_thread.run_sync(ours.recv, 5) == b"hello"
    assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (512, 1024)
    ours.close()
    await process.wait()
    await program.end(process)
    assert process.exit_code() == 0


async def test_whatever_stands_in_between_ends_with_it(tmp_path: Path) -> None:
    process = program.start([script(tmp_path, "sleep 1000; true")], CLEAN)
    with trio.CancelScope() as scope:
        scope.cancel()
        await program.end(process)  # a cancellation does not leave it running
    assert process.exit_code() == -signal.SIGKILL
    with trio.fail_after(10):  # the kernel ends the others of a killed group in its own time
        while any(stat.alive and stat.session == process.pid for stat in processes()):
            await trio.sleep(0.01)


async def test_a_self_test_passes_fails_with_its_last_words_or_takes_too_long(tmp_path: Path) -> None:
    assert await program.try_out(script(tmp_path, 'test "$1$2$3" = selftest--config/c'), "/c", CLEAN, 30) == ""
    failed = await program.try_out(script(tmp_path, "echo one; echo; echo two >&2; exit 4"), "/c", CLEAN, 30)
    assert failed == "its self-test failed (exit code 4): one · two"
    late = await program.try_out(script(tmp_path, "exec sleep 1000"), "/c", CLEAN, 0.3)
    assert late == "its self-test did not end within 0.3 s"
    none = await program.try_out(script(tmp_path, "exit 1"), "/c", CLEAN, 30)
    assert none.endswith("it said nothing")
    (tmp_path / "new").write_bytes(b"\x7fELF nothing")
    assert "cannot be started" in await program.try_out(str(tmp_path / "new"), "/c", CLEAN, 30)


async def test_what_a_killed_self_test_leaves_running_is_ended(tmp_path: Path) -> None:
    """The engine of one is in a session of its own, and knows nothing but its mark."""
    text = (
        "mkdir $TMPDIR/state\n"
        "echo 7f0a8a1c-1111-4222-8333-944444444444 > $TMPDIR/state/instance\n"
        f"APPLIANCE_INSTANCE=7f0a8a1c-1111-4222-8333-944444444444 setsid sleep 1000 & echo $! > {tmp_path}/pid\n"
        "exec sleep 1000"
    )
    assert "did not end" in await program.try_out(script(tmp_path, text), "/c", CLEAN, 2)
    pid = int((tmp_path / "pid").read_text())
    with trio.fail_after(10):
        while tagged("7f0a8a1c-1111-4222-8333-944444444444"):
            await trio.sleep(0.02)
    assert pid > 1
