"""In a real terminal: a pseudo-terminal that types `q`."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.cli.main import main
from tests.fakes.product import Product, product, runtime

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with product(tmp_path_factory.mktemp("box"), runtime("m")) as running:
        running.ready("m")
        yield running


def in_a_terminal(box: Product, until: str, typed: bytes = b"") -> tuple[int, str]:
    """The exit code and all that was shown, when some text was shown, something was typed, and it has ended.

    Where nothing is typed it is interrupted, as a terminal does it for Ctrl-C.
    """
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "appliance", "top", "--state-dir", str(box.state / "s")]
    environment = box.environment | {"TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    child = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown, end, told = "", time.monotonic() + 60, False
    try:
        while time.monotonic() < end and child.poll() is None:
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    shown += os.read(ours, 65536).decode(errors="replace")
                except OSError:  # it has closed its side
                    break
            if until in shown and not told:
                told = True
                if typed:
                    os.write(ours, typed)
                else:
                    child.send_signal(signal.SIGINT)
        return child.wait(30), shown
    finally:
        child.kill()
        child.wait()
        os.close(ours)


def test_it_shows_what_there_is_until_q(box: Product) -> None:
    code, shown = in_a_terminal(box, "q: quit", b"q")
    assert code == 0
    assert "appliance top" in shown
    assert "REPLICA" in shown
    assert "\x1b[?1049l" in shown, "the screen is as it was before"


def test_ctrl_c_ends_it_as_well(box: Product) -> None:
    code, shown = in_a_terminal(box, "q: quit")
    assert code == 0, shown
    assert "Traceback" not in shown
    assert "\x1b[?1049l" in shown


def test_it_is_printed_once_for_a_pipe(box: Product, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--state-dir", str(box.state / "s")]
    assert main(["top", "--once", *where]) == 0
    out = capsys.readouterr().out
    assert "in flight" in out
    assert "\x1b" not in out
    assert main(["top", "--json", *where]) == 0
    assert json.loads(capsys.readouterr().out)["replicas"][0]["replica"] == "m"


def test_without_a_terminal_it_says_what_to_do(box: Product, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--state-dir", str(box.state / "s")]) == 2
    assert "--once" in capsys.readouterr().err


def test_a_server_that_there_is_not_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--once", "--state-dir", str(tmp_path)]) == 2
    assert "no appliance runs" in capsys.readouterr().err
