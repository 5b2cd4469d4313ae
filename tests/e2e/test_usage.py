"""What every key used, as its operator reads it: over a restart, after a kill, without a word of what was said."""

import csv
import io
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.fakes.product import Product, product, runtime
from tests.fakes.program import PROGRAM

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
CANARY = "canary-prompt-51c2"


def usage(box: Product, *flags: str) -> list[dict[str, str]]:
    command = [*PROGRAM, "usage", "--state-dir", str(box.state / "s"), "--csv", *flags]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return list(csv.DictReader(io.StringIO(printed)))


def ask(box: Product, *, stream: bool = False) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": CANARY}], "stream": stream}
    assert box.post("/v1/chat/completions", body).status_code == 200


def requests(box: Product) -> int:
    rows = usage(box) if (box.state / "s" / "usage.db").exists() else []
    return sum(int(row["requests"]) for row in rows)


def test_usage_over_a_restart_and_a_kill(tmp_path: Path) -> None:
    tables = runtime("m", "--tokens", "7")
    with product(tmp_path, tables) as box:
        box.ready("m")
        ask(box)
        ask(box, stream=True)
        assert box.post("/v1/chat/completions", {"model": "m"}).status_code == 400  # it had no target
        box.until(lambda: requests(box) == 2, 20)  # beside the running server
        (row,) = usage(box, "--by", "key,model,target")
        assert (row["key"], row["model"], row["target"], row["output"]) == ("tester", "m", "m", "14")
        assert int(row["input"]) > 0
        assert (row["failed"], row["estimated"]) == ("0", "0")
        box.stop()

        box.start()
        box.ready("m")
        ask(box)
        box.until(lambda: requests(box) == 3, 20)
        os.kill(box.process.pid, signal.SIGKILL)
        box.process.wait(10)

        box.start()
        box.ready("m")
        ask(box)
        box.stop()  # what is left is written on the way out
        assert requests(box) == 4
        files = [path for path in (box.state / "s").iterdir() if path.name.startswith("usage.db")]
        assert files
        assert not any(CANARY.encode() in path.read_bytes() for path in files)
        box.start()  # to be stopped as any other


def test_quotas_over_a_kill(tmp_path: Path) -> None:
    """Each answer has 7 tokens of output and the same input; the quota is two answers and what a third may need."""
    with product(tmp_path, runtime("m", "--tokens", "7")) as box:
        box.ready("m")
        ask(box)
        box.until(lambda: requests(box) == 1, 20)
        (row,) = usage(box)
        one = int(row["input"]) + int(row["output"])

        text = box.config.read_text()
        limited = text.replace('"tester"', f'"tester"\nlimits = {{ tokens_per_month = {2 * one + 40} }}', 1)
        box.config.write_text(limited)
        os.kill(box.process.pid, signal.SIGHUP)  # what was used before there was a limit counts
        box.said("in effect")
        body = {"model": "m", "messages": [{"role": "user", "content": CANARY}], "max_tokens": 10}
        assert box.post("/v1/chat/completions", body).status_code == 200
        refused = box.post("/v1/chat/completions", body | {"max_tokens": 60})
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
        box.until(lambda: requests(box) == 2, 20)
        os.kill(box.process.pid, signal.SIGKILL)
        box.process.wait(10)

        box.start()
        box.ready("m")
        assert box.post("/v1/chat/completions", body | {"max_tokens": 60}).status_code == 429
        box.config.write_text(text)
        box.stop()
        box.start()
        box.ready("m")
        ask(box)


def test_a_file_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir(mode=0o700)  # one that others may look into is refused
    (tmp_path / "s" / "usage.db").mkdir()
    with product(tmp_path, runtime("m")) as box:
        box.ready("m")
        ask(box)
        box.said("usage is not being recorded")
        ask(box)
