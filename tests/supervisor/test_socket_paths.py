import os
from pathlib import Path

from appliance.supervisor.socket_paths import socket_paths


def test_a_short_name_is_a_files_name_and_a_long_one_is_cut_and_stays_unlike_others(tmp_path: Path) -> None:
    home = Path(f"/tmp/sp-{os.getpid()}")
    with socket_paths(home) as path_of:
        assert path_of("qwen@2") == home / "run" / "qwen@2.sock"
        assert path_of("a/b") == home / "run" / "a%2Fb.sock"
        long = {path_of("x" * 100 + end).name for end in "abc"}
        assert len(long) == 3
        assert max(map(len, long)) <= 36


def test_a_long_directory_gets_a_short_private_one_beside_it(tmp_path: Path) -> None:
    with socket_paths(tmp_path / ("d" * 80)) as path_of:
        path = path_of("m")
        assert len(os.fsencode(path)) < 100
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert not path.parent.exists()
