from pathlib import Path

from appliance.supervisor import scratch


def test_it_is_empty_at_every_start_and_gone_at_the_end(tmp_path: Path) -> None:
    socket = Path("/tmp") / tmp_path.name / "m.sock"
    socket.parent.mkdir(exist_ok=True)
    made = scratch.fresh(socket)
    assert made == socket.with_suffix(".d")
    assert made.stat().st_mode & 0o777 == 0o700
    (made / "left").touch()
    again = scratch.fresh(socket)
    assert again is not None
    assert list(again.iterdir()) == []
    scratch.remove(socket)
    scratch.remove(socket)
    assert not made.exists()
    socket.parent.rmdir()


def test_where_sockets_would_have_too_long_a_path_there_is_none(tmp_path: Path) -> None:
    socket = tmp_path / ("x" * 80) / "m.sock"
    assert scratch.fresh(socket) is None
    scratch.remove(socket)
