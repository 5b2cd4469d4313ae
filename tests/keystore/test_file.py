import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.errors import OperatorError
from appliance.keystore import file as module
from appliance.keystore.file import KeyFile, fresh_text
from appliance.keystore.stored import Keys, NewKey, made, with_new

NOW = 1_800_000_000.0


def add(file: KeyFile, name: str) -> Keys:
    return file.change(lambda keys: with_new(keys, made(NewKey(name=name), fresh_text("sk-"), "sk-", NOW), (), NOW))


def test_no_file_is_no_keys_and_the_first_one_makes_it_private(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "deep" / "state")
    assert file.read() == ()
    assert file.signature() is None
    keys = add(file, "a")
    assert file.read() == keys
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700


def test_every_change_has_another_signature_and_no_change_writes_nothing(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    seen = {file.signature()}
    for name in "abc":
        add(file, name)
        seen.add(file.signature())
    assert len(seen) == 4
    file.change(lambda keys: keys)
    assert file.signature() in seen


@pytest.mark.parametrize("content", [b"", b"{", b'{"version":1}', b'{"version":1,"keys":[{"name":"x"}]}', b"\xff" * 99])
def test_a_broken_file_is_told_and_neither_read_nor_written_over(tmp_path: Path, content: bytes) -> None:
    file = KeyFile(tmp_path)
    file.path.write_bytes(content)
    for action in (file.read, lambda: add(file, "a")):
        with pytest.raises(OperatorError, match="Put a good copy there, or move it away"):
            action()
    assert file.path.read_bytes() == content


def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    file.path.write_bytes(b'{"version":2,"keys":[]}')
    with pytest.raises(OperatorError, match="another version"):
        file.read()


def test_an_edit_that_is_refused_changes_nothing(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    keys = add(file, "a")
    with pytest.raises(OperatorError, match="already"):
        add(file, "a")
    assert file.read() == keys


def test_a_disk_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = KeyFile(tmp_path)
    keys = add(file, "a")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OperatorError, match=r"No space left on device\. Nothing has changed"):
        add(file, "b")
    assert file.read() == keys


_ADD = """
import sys
from pathlib import Path
from tests.keystore.test_file import KeyFile, add
for number in range(10):
    add(KeyFile(Path(sys.argv[1])), f"{sys.argv[2]}-{number}")
"""


def test_of_many_processes_that_change_it_none_loses_what_another_wrote(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", _ADD, str(tmp_path), name]) for name in "abc"]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    assert {key.name for key in KeyFile(tmp_path).read()} == {f"{name}-{n}" for name in "abc" for n in range(10)}


def test_a_lock_that_is_never_given_back_is_waited_for_only_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.1)
    file = KeyFile(tmp_path)
    with file._alone(), pytest.raises(OperatorError, match="cannot change"):
        add(KeyFile(tmp_path), "a")


def test_no_two_texts_are_alike_and_each_begins_as_wanted() -> None:
    texts = {fresh_text("org_") for _ in range(100)}
    assert len(texts) == 100
    assert all(text.startswith("org_") and len(text) == 44 and text[4:].isalnum() for text in texts)
