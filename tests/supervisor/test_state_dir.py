import os
import stat
from pathlib import Path

import pytest

from appliance.errors import OperatorError
from appliance.supervisor.state_dir import instance_of, known_instance, locked


def test_a_state_directory_is_private_and_held_by_one(tmp_path: Path) -> None:
    state = tmp_path / "a" / "b"
    with locked(state):
        assert {stat.S_IMODE(path.stat().st_mode) for path in (state, state / "run", state / "logs")} == {0o700}
        with pytest.raises(OperatorError, match=rf"another appliance \(pid {os.getpid()}\) uses"), locked(state):
            raise AssertionError("held twice")
    with locked(state):
        assert (state / "lock").read_text() == f"{os.getpid()}\n"


def test_a_directory_that_cannot_be_used_has_a_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OperatorError, match="cannot use state_dir"), locked(tmp_path / "file"):
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
