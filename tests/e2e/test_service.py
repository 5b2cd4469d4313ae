"""The appliance as a service manager sees it."""

import contextlib
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fakes.product import Product, product, runtime


class Ear:
    """The manager's end of the notify socket."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.heard: list[str] = []

    def listen(self, until: Callable[[list[str]], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not until(self.heard):
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            self.heard += self.socket.recv(4096).decode().split("\n")


def test_ready_is_told_when_it_answers_then_a_pulse_the_state_a_reload_and_the_end(tmp_path: Path) -> None:
    ear = Ear(tmp_path / "notify")
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
    with contextlib.closing(ear.socket), product(tmp_path / "p", runtime("m"), environment=environment) as box:
        ear.listen(lambda heard: "READY=1" in heard)
        box.ready("m")
        (engine,) = box.engines()
        assert b"NOTIFY_SOCKET" not in Path(f"/proc/{engine}/environ").read_bytes()
        ear.listen(lambda heard: any(line.startswith("STATUS=1 of 1 model processes ready") for line in heard))
        pulses = ear.heard.count("WATCHDOG=1")
        ear.listen(lambda heard: heard.count("WATCHDOG=1") >= pulses + 3)
        ear.heard.clear()
        box.process.send_signal(signal.SIGHUP)
        ear.listen(lambda heard: "READY=1" in heard)
        assert "RELOADING=1" in ear.heard
        box.terminate()
        ear.listen(lambda heard: "STOPPING=1" in heard)
        assert any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in ear.heard)


def test_a_loop_that_stands_still_gets_no_pulse(tmp_path: Path) -> None:
    ear = Ear(tmp_path / "notify")
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
    with contextlib.closing(ear.socket), product(tmp_path / "p", "", environment=environment) as box:
        ear.listen(lambda heard: "WATCHDOG=1" in heard)
        box.process.send_signal(signal.SIGSTOP)
        time.sleep(0.2)
        ear.socket.settimeout(0.01)
        with contextlib.suppress(TimeoutError):
            while True:
                ear.socket.recv(4096)
        ear.socket.settimeout(2)
        try:
            silent = not ear.socket.recv(4096)
        except TimeoutError:
            silent = True
        box.process.send_signal(signal.SIGCONT)
        assert silent
        ear.heard.clear()
        ear.listen(lambda heard: "WATCHDOG=1" in heard)


def test_a_machine_that_sleeps_and_wakes_again_and_again_keeps_its_server(tmp_path: Path) -> None:
    """Each time the loop seems to have stood still, and where it is is written down; looking must not end the process."""
    ear = Ear(tmp_path / "notify")
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
    with (
        contextlib.closing(ear.socket),
        product(tmp_path / "p", "", environment=environment) as box,
        ThreadPoolExecutor(4) as pool,
    ):
        asking = [pool.submit(_ask_on, box) for _ in range(4)]
        for _ in range(40):
            box.process.send_signal(signal.SIGSTOP)
            time.sleep(0.12)
            box.process.send_signal(signal.SIGCONT)
            time.sleep(0.05)
            assert box.process.poll() is None
        (tmp_path / "enough").touch()
        assert [one.result() for one in asking] == [None] * 4
        box.said("most recent call first")


def _ask_on(box: Product) -> None:
    while not (box.state.parent / "enough").exists():
        assert "appliance_build_info" in box.metrics()
