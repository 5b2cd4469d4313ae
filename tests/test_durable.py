import os
import stat
from pathlib import Path

import pytest

from appliance.durable import replace_file


def test_the_new_file_is_whole_and_private(tmp_path: Path) -> None:
    place = tmp_path / "f"
    replace_file(place, b"one")
    (tmp_path / "f.new").write_bytes(b"left by a run that was killed")
    replace_file(place, b"two", owner=(os.getuid(), os.getgid()))
    assert place.read_bytes() == b"two"
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_what_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "f"
    replace_file(place, b"one")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(place, b"two")
    assert place.read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_link_in_its_way_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "f").symlink_to(victim)
    (tmp_path / "f.new").symlink_to(victim)
    replace_file(tmp_path / "f", b"two")
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / "f").read_bytes() == b"two"
