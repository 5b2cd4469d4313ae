import socket
import stat
from pathlib import Path

import pytest

from appliance.sockets.private import PrivateSocket, reachable


def connected(path: Path) -> bool:
    with reachable(path) as name, socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(name)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        return True


@pytest.mark.parametrize("deep", [False, True], ids=["short path", "path too long for the kernel"])
def test_only_its_owner_may_connect_and_it_is_gone_at_the_end(tmp_path: Path, deep: bool) -> None:
    folder = tmp_path / ("x" * 120) if deep else tmp_path
    folder.mkdir(exist_ok=True)
    before = len(list(Path("/proc/self/fd").iterdir()))
    private = PrivateSocket(folder / "ops.sock")
    assert stat.S_IMODE(private.path.lstat().st_mode) == 0o600
    assert connected(private.path)
    private.close()
    private.close()
    assert list(folder.iterdir()) == []
    assert not connected(private.path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "ops.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert not connected(path)
    private = PrivateSocket(path)
    assert connected(path)
    private.close()


def test_where_somebody_listens_nothing_is_touched(tmp_path: Path) -> None:
    first = PrivateSocket(tmp_path / "ops.sock")
    crowd = []
    for _ in range(70):  # more than its queue takes
        one = socket.socket(socket.AF_UNIX)
        one.settimeout(0)
        crowd.append(one)
        try:
            one.connect(str(first.path))
        except BlockingIOError:
            break
    with pytest.raises(OSError, match="somebody listens"):
        PrivateSocket(first.path)
    assert first.path.exists()
    for one in crowd:
        one.close()
    first.close()


def test_what_is_no_socket_stays(tmp_path: Path) -> None:
    file = tmp_path / "ops.sock"
    file.write_text("mine")
    with pytest.raises(OSError, match="no socket"):
        PrivateSocket(file)
    assert file.read_text() == "mine"


def test_a_successors_socket_is_not_removed(tmp_path: Path) -> None:
    first = PrivateSocket(tmp_path / "ops.sock")
    first.path.unlink()
    second = PrivateSocket(first.path)
    first.close()
    assert connected(second.path)
    second.close()


def test_no_directory_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        PrivateSocket(tmp_path / "no" / "ops.sock")


def test_another_process_goes_on_with_it_and_removes_it(tmp_path: Path) -> None:
    old = PrivateSocket(tmp_path / "ops.sock")
    new = PrivateSocket(old.path, old.socket.dup())
    old.leave()
    old.close()
    assert connected(new.path)
    new.close()
    assert list(tmp_path.iterdir()) == []
