import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.supervisor.listeners import Listener, foreign, parse, reached
from appliance.supervisor.proc import Member

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000000000000000 20 4 30 10 -1
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 17 1 0000000000000000 100 0 0 10 0
   3: short
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:1F91 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0000000000000000FFFF00000100007F:1F92 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0
   2: 00000000000000000000000000000000:1F93 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3 1 0 100 0 0 10 0
"""


def test_the_kernels_tables_are_read() -> None:
    assert parse(TCP) == [Listener(ip_address("127.0.0.1"), 8080, 4711), Listener(ip_address("0.0.0.0"), 22, 17)]
    assert [str(row.address) for row in parse(TCP6)] == ["::1", "127.0.0.1", "::"]


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_read_without_an_error(text: str) -> None:
    parse("head\n" + text)


@pytest.mark.parametrize(
    ("host", "port", "inodes"),
    [
        ("127.0.0.1", 8080, [4711]),
        ("127.0.0.2", 8080, []),
        ("127.0.0.1", 22, [17]),
        ("::1", 22, []),
        ("::1", 8081, [1]),
        ("127.0.0.1", 8081, []),
        ("127.0.0.1", 8082, [2]),
        ("127.0.0.1", 8083, [3]),
        ("127.0.0.1", 1, []),
    ],
)
def test_whoever_a_connection_can_end_at_counts(host: str, port: int, inodes: list[int]) -> None:
    assert [row.inode for row in reached(parse(TCP) + parse(TCP6), host, port)] == inodes


LISTEN = """
import socket, sys, time
server = socket.socket(); server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
server.bind((sys.argv[1], int(sys.argv[2]))); server.listen(); print(server.getsockname()[1], flush=True); time.sleep(60)
"""


class Squatters:
    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []

    def listen(self, host: str, port: int = 0) -> tuple[Member, int]:
        process = subprocess.Popen([sys.executable, "-c", LISTEN, host, str(port)], stdout=subprocess.PIPE)
        self.processes.append(process)
        assert process.stdout
        return Member(process.pid, 0), int(process.stdout.readline())


@pytest.fixture
def squatters() -> Iterator[Squatters]:
    some = Squatters()
    yield some
    for process in some.processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_only_our_own_listener_is_trusted(squatters: Squatters, host: str) -> None:
    child, port = squatters.listen(host)
    assert foreign("127.0.0.1", port, {child, Member(2**22 + 1, 0)}) is None
    assert "not ours" in str(foreign("127.0.0.1", port, {Member(os.getpid(), 0)}))
    assert "not ours" in str(foreign("127.0.0.1", port, set()))
    with socket.socket() as connected:
        connected.connect(("127.0.0.1", port))
        assert foreign("127.0.0.1", port, {child}) is None, "connections are no listeners"


def test_a_second_listener_on_the_same_port_spoils_it(squatters: Squatters) -> None:
    child, port = squatters.listen("127.0.0.1")
    assert foreign("127.0.0.1", port, {child}) is None
    squatters.listen("127.0.0.1", port)
    assert "not ours" in str(foreign("127.0.0.1", port, {child}))


def test_a_port_without_a_listener_is_not_there_yet() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert "nobody" in str(foreign("127.0.0.1", bound.getsockname()[1], {Member(os.getpid(), 0)}))
