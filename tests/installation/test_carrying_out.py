import sys
from pathlib import Path, PurePosixPath

import pytest

from appliance.errors import OperatorError
from appliance.installation.carrying_out import carry_out
from appliance.installation.steps import Command, Copy, Directory, File, Link, Remove, Step


def outcomes(root: Path, *steps: Step, dry_run: bool = False) -> list[str]:
    return [done.outcome for done in carry_out(steps, root, dry_run=dry_run)]


def at(name: str) -> PurePosixPath:
    return PurePosixPath("/") / name


def test_everything_is_made_so_and_the_second_time_it_is(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "lib").mkdir(parents=True)
    (source / "lib" / "a").write_text("a")
    (source / "link").symlink_to("lib/a")
    root = tmp_path / "root"
    steps = (
        Directory(at("etc/appliance"), 0o750),
        File(at("etc/appliance/x.toml"), "text", 0o640),
        Copy(str(source), at("opt/appliance")),
        Copy(str(source / "lib" / "a"), at("usr/local/bin/a")),
        Link(at("usr/local/bin/appliance"), at("opt/appliance/appliance")),
    )
    assert outcomes(root, *steps, dry_run=True) == ["would"] * 5
    assert not root.exists()
    assert outcomes(root, *steps) == ["changed"] * 5
    assert outcomes(root, *steps) == ["kept"] * 5
    assert (root / "etc/appliance").stat().st_mode & 0o777 == 0o750
    assert (root / "etc/appliance/x.toml").stat().st_mode & 0o777 == 0o640
    assert (root / "opt/appliance/lib/a").read_text() == "a"
    assert (root / "opt/appliance/link").is_symlink()
    assert (root / "usr/local/bin/a").stat().st_mode & 0o777 == 0o755
    (source / "lib" / "a").write_text("another")
    assert outcomes(root, *steps) == ["kept", "kept", "changed", "changed", "kept"]
    assert (root / "opt/appliance/lib/a").read_text() == "another"


def test_a_file_that_is_somebodys_work_is_kept_and_another_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("work")
    mine = File(at("mine"), "ours", keep=True)
    assert outcomes(tmp_path, mine) == ["kept"]
    assert (tmp_path / "mine").read_text() == "work"
    assert outcomes(tmp_path, File(at("mine"), "ours")) == ["changed"]
    assert (tmp_path / "mine").read_text() == "ours"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_is_removed_may_be_gone_already(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    steps = [Remove(at(name)) for name in ("folder", "link", "never")]
    assert outcomes(tmp_path, *steps) == ["changed", "changed", "kept"]
    assert list(tmp_path.iterdir()) == []


def test_in_another_root_nothing_is_run(tmp_path: Path) -> None:
    assert outcomes(tmp_path, Command(("false",))) == ["kept"]


def test_a_command_runs_and_its_failure_is_told_with_its_words() -> None:
    root = Path("/")
    assert outcomes(root, Command((sys.executable, "-c", "pass"))) == ["changed"]
    failing = (sys.executable, "-c", "import sys; sys.exit('no such unit')")
    assert [done.detail for done in carry_out([Command(failing, optional=True)], root, dry_run=False)] == [
        "no such unit"
    ]
    with pytest.raises(OperatorError, match="no such unit; mend that and install again"):
        outcomes(root, Command(failing))
    with pytest.raises(OperatorError, match="cannot run /no/such/program"):
        outcomes(root, Command(("/no/such/program", "x")))


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OperatorError, match="cannot make the directory /file/below"):
        outcomes(tmp_path, Directory(at("file/below"), 0o700))


def test_a_command_that_is_for_changes_alone_runs_after_one(tmp_path: Path) -> None:
    told = Command((sys.executable, "-c", "pass"), after_change=True)
    root, other = Path("/"), File(PurePosixPath(tmp_path / "file"), "text", keep=True)
    Path(other.path).touch()
    assert outcomes(root, other, told) == ["kept", "kept"]
    assert outcomes(root, Remove(other.path), told) == ["changed", "changed"]


def test_a_command_that_has_nothing_to_do_is_not_run() -> None:
    yes, no = (sys.executable, "-c", "raise SystemExit(0)"), (sys.executable, "-c", "raise SystemExit(1)")
    assert outcomes(Path("/"), Command(no, unless=yes)) == ["kept"]
    assert outcomes(Path("/"), Command(yes, unless=no)) == ["changed"]
    assert outcomes(Path("/"), Command(no, unless=("/no/such/program",)), dry_run=True) == ["would"]
