import os
from pathlib import Path

from appliance.supervisor.socket_paths import clear, socket_paths, sweep


def test_a_short_name_is_a_files_name_and_a_long_one_is_cut_and_stays_unlike_others(tmp_path: Path) -> None:
    home = Path(f"/tmp/sp-{os.getpid()}")
    with socket_paths(home) as path_of:
        assert path_of("qwen@2") == home / "run" / "qwen@2.sock"
        assert path_of("a/b") == home / "run" / "a%2Fb.sock"
        long = {path_of("x" * 100 + end).name for end in "abc"}
        assert len(long) == 3
        assert max(map(len, long)) <= 36


def long_one(tmp_path: Path) -> Path:
    state_dir = tmp_path / ("d" * 80)
    (state_dir / "run").mkdir(parents=True)
    return state_dir


def test_a_long_directory_gets_a_short_private_one_beside_it(tmp_path: Path) -> None:
    state_dir = long_one(tmp_path)
    with socket_paths(state_dir) as path_of:
        path = path_of("m")
        assert len(os.fsencode(path)) < 100
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert not path.parent.exists()
    assert not any((state_dir / "run").iterdir())


def test_what_is_left_running_is_found_by_the_next_run_and_at_its_end_nothing_is_left(tmp_path: Path) -> None:
    state_dir = long_one(tmp_path)
    with socket_paths(state_dir) as path_of:
        path_of("kept").touch()
        path_of("stale").touch()
        path_of("kept").with_suffix(".d").mkdir()
        path_of("stale").with_suffix(".d").mkdir()
    with socket_paths(state_dir) as again:
        assert again("kept") == path_of("kept")
        assert again("kept").exists()
        sweep(state_dir, {str(again("kept"))})
        assert sorted(path.name for path in again("kept").parent.iterdir()) == ["kept.d", "kept.sock"]
        again("kept").unlink()
        again("kept").with_suffix(".d").rmdir()
    assert not path_of("kept").parent.exists()


def test_where_nothing_runs_any_more_everything_is_removed(tmp_path: Path) -> None:
    state_dir = long_one(tmp_path)
    with socket_paths(state_dir) as path_of:
        path_of("m").touch()
    (state_dir / "run" / "old.sock").touch()
    clear(state_dir)
    assert not path_of("m").parent.exists()
    assert not any((state_dir / "run").iterdir())


def test_the_directory_of_a_run_that_begins_stays(tmp_path: Path) -> None:
    state_dir = long_one(tmp_path)
    with socket_paths(state_dir) as path_of:
        sweep(state_dir)
        assert path_of("m").parent.exists()


def test_a_directory_that_has_gone_or_is_somebody_elses_is_not_used(tmp_path: Path) -> None:
    state_dir, other = long_one(tmp_path), tmp_path / "other"
    other.mkdir()
    trap = tmp_path / "trap"
    trap.symlink_to(other)
    for target in (tmp_path / "gone", trap):
        (state_dir / "run" / "sockets").unlink(missing_ok=True)
        (state_dir / "run" / "sockets").symlink_to(target)
        with socket_paths(state_dir) as path_of:
            assert path_of("m").parent not in {target, other}
    assert not any(other.iterdir())
