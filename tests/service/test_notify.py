import socket
from pathlib import Path

import pytest

from appliance.service.notify import Manager, manager_of


@pytest.mark.parametrize("abstract", [False, True])
def test_what_is_told_arrives_as_one_datagram_each(tmp_path: Path, abstract: bool) -> None:
    address = f"@appliance-test-{tmp_path.name}-{id(tmp_path)}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + address[1:] if abstract else address)
        listening.settimeout(10)
        manager = Manager(address)
        manager.ready()
        manager.reloading()
        manager.handed_over(77)
        manager.stopping(35)
        assert listening.recv(1000) == b"READY=1"
        first, second = listening.recv(1000).decode().split("\n")
        assert (first, second.partition("=")[0]) == ("RELOADING=1", "MONOTONIC_USEC")
        assert listening.recv(1000) == b"MAINPID=77\nWATCHDOG=1"
        assert b"EXTEND_TIMEOUT_USEC=35000000" in listening.recv(1000)


def test_a_manager_that_is_gone_or_does_not_listen_holds_nobody_up(tmp_path: Path) -> None:
    Manager(str(tmp_path / "gone")).ready()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        for _ in range(10_000):
            Manager(str(tmp_path / "deaf")).ready()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Manager()),
        ({"NOTIFY_SOCKET": ""}, Manager()),
        ({"NOTIFY_SOCKET": "relative"}, Manager()),
        ({"NOTIFY_SOCKET": "/run/x"}, Manager("/run/x")),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "30000000"}, Manager("@x", 30.0)),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, Manager("@x", 30.0)),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, Manager("@x")),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "soon"}, Manager("@x")),
        ({"WATCHDOG_USEC": "30000000"}, Manager()),
    ],
)
def test_the_environment_says_who_watches(environ: dict[str, str], expected: Manager) -> None:
    assert manager_of(environ, 7) == expected


def test_without_a_manager_nothing_is_said() -> None:
    Manager().ready()
    Manager().stopping(1)
