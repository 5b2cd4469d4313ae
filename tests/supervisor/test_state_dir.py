import os
import stat
from pathlib import Path

import pytest

from appliance.errors import OperatorError
from appliance.supervisor.state_dir import instance_of, known_instance, locked, sign


def test_a_state_directory_is_private_and_held_by_one(tmp_path: Path) -> None:
    state = tmp_path / "a" / "b"
    with locked(state):
        assert {stat.S_IMODE(path.stat().st_mode) for path in (state, state / "run", state / "logs")} == {0o700}
        with pytest.raises(OperatorError, match=rf"another appliance \(pid {os.getpid()}\) uses"), locked(state):
            raise AssertionError("held twice")
    with locked(state):
        assert (state / "lock").read_text() == f"{os.getpid()}\n"


def test_whoever_reads_the_lock_in_the_middle_of_a_change_reads_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "lock"
    lock.write_text("123456789\n")
    truncate, seen = os.truncate, []

    def look(file: int, length: int) -> None:
        seen.append(lock.read_text())
        truncate(file, length)
        seen.append(lock.read_text())

    monkeypatch.setattr(os, "truncate", look)
    with lock.open("r+b") as file:
        sign(file.fileno())
    assert [text.split()[0] for text in seen] == [str(os.getpid())] * 2
    assert lock.read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("held", [(), ("instance", "usage.db"), ("lock", "logs", "run")])
def test_one_that_is_open_to_others_is_closed_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, held: tuple[str, ...]
) -> None:
    state = tmp_path / "s"
    state.mkdir()
    for name in held:
        (state / name).touch() if "." in name or name in {"instance", "lock"} else (state / name).mkdir()
    state.chmod(0o755)
    with caplog.at_level("WARNING", "appliance.supervisor"), locked(state):
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert f"{state} is open to others (mode 0755): it has mode 0700 now" in caplog.text


def test_one_that_holds_what_is_not_an_appliances_is_not_shut_to_others(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    tmp_path.chmod(0o755)
    with pytest.raises(OperatorError, match=rf"mode 0755\) and is not .* `chmod 700 {tmp_path}`"), locked(tmp_path):
        pass
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    tmp_path.chmod(0o700)
    with locked(tmp_path):
        pass


def test_a_directory_that_cannot_be_used_has_a_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = "cannot use state_dir .*: name a directory that this user may make"
    with pytest.raises(OperatorError, match=said), locked(tmp_path / "file"):
        pass
    with pytest.raises(OperatorError, match="cannot write"):
        instance_of(tmp_path / "absent")


def test_the_instance_is_made_once(tmp_path: Path) -> None:
    assert known_instance(tmp_path) is None
    made = instance_of(tmp_path)
    assert instance_of(tmp_path) == known_instance(tmp_path) == made
    assert stat.S_IMODE((tmp_path / "instance").stat().st_mode) == 0o600
    (tmp_path / "instance").write_text("broken")
    assert known_instance(tmp_path) is None
    assert instance_of(tmp_path) != made


def test_an_instance_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path) -> None:
    assert known_instance(tmp_path / "nowhere") is None
    (tmp_path / "instance").mkdir()
    with pytest.raises(OperatorError, match="cannot read"):
        known_instance(tmp_path)
