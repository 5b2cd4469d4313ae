import os
import stat
from pathlib import Path

import pytest

from appliance.config.file import ConfigFile
from appliance.domain.secret import Secret
from appliance.errors import OperatorError

TEXT = '[server]\nlisten = "127.0.0.1:1"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "a.toml"
    place.write_text(TEXT)
    place.chmod(0o640)
    return place


def test_a_file_is_replaced_with_its_mode_and_what_it_was_stays_beside_it(path: Path) -> None:
    file = ConfigFile(path, {})
    before = file.read()
    after = file.replace(before, "# new\n")
    assert (path.read_text(), path.with_name("a.toml.bak").read_text()) == ("# new\n", TEXT)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(path.with_name("a.toml.bak").stat().st_mode) == 0o640
    assert after == file.read()
    assert after.etag != before.etag
    file.restore(before)
    assert path.read_text() == TEXT


def test_one_that_somebody_else_changed_meanwhile_is_left_alone(path: Path) -> None:
    file = ConfigFile(path, {})
    before = file.read()
    path.write_text("# theirs\n")
    with pytest.raises(OperatorError, match="by somebody else meanwhile"):
        file.replace(before, "# ours\n")
    assert path.read_text() == "# theirs\n"
    assert not path.with_name("a.toml.bak").exists()


def test_a_link_stays_one_and_marks_and_line_ends_of_windows_stay(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    path.write_bytes(b"\xef\xbb\xbf# a\r\n")
    file = ConfigFile(link, {})
    before = file.read()
    assert before.text == "# a\r\n"
    file.replace(before, before.text + "# b\r\n")
    assert link.is_symlink()
    assert path.read_bytes() == b"\xef\xbb\xbf# a\r\n# b\r\n"
    assert file.fresh()[0].server.listen == "127.0.0.1:8000"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_the_owner_stays(path: Path) -> None:
    os.chown(path, 1234, 4321)
    file = ConfigFile(path, {})
    file.replace(file.read(), "# new\n")
    found = path.stat()
    assert (found.st_uid, found.st_gid) == (1234, 4321)


def test_a_directory_that_may_not_be_written_is_told_with_what_to_do(path: Path) -> None:
    file = ConfigFile(path, {})
    before = file.read()
    path.with_name("a.toml.bak.new").mkdir()  # stands for a directory that takes no new file, for root too
    with pytest.raises(OperatorError, match=r"Nothing has changed.*has to own the file.*/docs/service"):
        file.replace(before, "# new\n")
    assert path.read_text() == TEXT


def test_texts_are_judged_with_what_the_server_knows(path: Path, tmp_path: Path) -> None:
    told: list[Secret] = []
    (tmp_path / "k").write_text("sk-canary-1")
    file = ConfigFile(path, {"API_KEYS": "a-key"}, also=(lambda _: [],), mask=told.extend)
    text = f'[server]\nlisten = "0.0.0.0:1"\n[[backends]]\nname = "b"\nengine = "vllm"\nurl = "http://x"\nkey_file = "{tmp_path}/k"\n'
    config, credentials = file.fresh(text)
    assert (config.server.listen, [*credentials]) == ("0.0.0.0:1", ["b"])
    assert [secret.reveal for secret in told] == ["sk-canary-1"]
    assert file.fresh()[0].server.listen == "127.0.0.1:1"
    assert ConfigFile(path, {}).judge(text)[1][0].line == 2
    with pytest.raises(OperatorError, match=r"1 problem in .*\n.*a\.toml:2:1"):
        ConfigFile(path, {}).fresh(text)


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="No such file"):
        ConfigFile(tmp_path / "gone", {}).read()
    (tmp_path / "b").write_bytes(b"\xff")
    with pytest.raises(OperatorError, match="not UTF-8"):
        ConfigFile(tmp_path / "b", {}).read()
