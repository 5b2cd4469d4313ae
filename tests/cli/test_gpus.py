import json
import subprocess
import sys
from pathlib import Path


def test_it_answers_lines_until_there_are_no_more(tmp_path: Path) -> None:
    (tmp_path / "gpus.json").write_text(json.dumps({"gpus": [{"index": 0, "total": 8}]}))
    command = [sys.executable, "-m", "appliance", "_gpus", "--file", str(tmp_path / "gpus.json")]
    done = subprocess.run(command, input=b"\n\n", capture_output=True, timeout=60, check=True)
    there, first, second = [json.loads(line) for line in done.stdout.splitlines()]
    assert there == {}
    assert first == second
    assert first["gpus"][0]["total"] == 8
    assert done.stderr == b""
