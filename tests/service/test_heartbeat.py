import signal
import socket
import time
from pathlib import Path

import trio

from appliance.service.heartbeat import beat
from appliance.service.notify import Manager


def heard(listening: socket.socket) -> list[str]:
    found = []
    listening.setblocking(False)
    try:
        while True:
            found.append(listening.recv(1000).decode())
    except BlockingIOError:
        return found


async def test_the_watchdog_hears_every_half_of_its_patience_and_a_status_only_when_it_changes(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    lines = iter(["loading", "loading", "ready"])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "n"))
        with trio.move_on_after(2.5):
            await beat(Manager(str(tmp_path / "n"), 2.0), lambda: next(lines, "ready"), None)
        assert heard(listening) == ["WATCHDOG=1", "STATUS=loading", "WATCHDOG=1", "WATCHDOG=1", "STATUS=ready"]
    assert autojump_clock.current_time() >= 2.5


async def test_a_manager_that_does_not_watch_gets_no_pulse(tmp_path: Path, autojump_clock: object) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "n"))
        with trio.move_on_after(5):
            await beat(Manager(str(tmp_path / "n")), lambda: "ready", None)
        assert heard(listening) == ["STATUS=ready"]


async def test_a_loop_that_is_held_up_is_found_in_the_act(tmp_path: Path) -> None:
    def somebody_blocks() -> None:
        time.sleep(1.0)

    with (tmp_path / "dump").open("w+") as dump:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(beat, Manager(str(tmp_path / "gone"), 0.4), str, dump)
            await trio.sleep(0.05)
            somebody_blocks()
            await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
        dump.seek(0)
        assert "somebody_blocks" in dump.read()


async def test_a_loop_that_beats_is_not_dumped(tmp_path: Path) -> None:
    with (tmp_path / "dump").open("w+") as dump:
        with trio.move_on_after(0.5):
            await beat(Manager(str(tmp_path / "gone"), 20), str, dump)
        dump.seek(0)
        assert dump.read() == ""


async def test_the_alarm_of_whoever_runs_this_is_given_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGALRM)
    with (tmp_path / "dump").open("w+") as dump, trio.move_on_after(0.05):
        await beat(Manager(str(tmp_path / "gone"), 20), str, dump)
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
