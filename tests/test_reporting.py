"""How this suite reports what failed."""

import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parent.parent
# What is collected while pytest reads this source for its report prints a traceback, and reads source for that too.
_FAILS = """
import ast, gc

class Knot:
    def __init__(self):
        self.own = self

    def __del__(self):
        ast.parse("x = 1 + 1")
        Knot()

def test_fails():
    Knot()
    gc.set_threshold(1, 10**6)
    assert False
""" + "".join(f"x{number} = [{number}, ({number} + 1)]\n" for number in range(200))


def test_a_finalizer_never_breaks_a_report(tmp_path: Path) -> None:
    """In Python 3.11 a parser that runs inside itself is a SystemError, and pytest, with all of its workers, ends there."""
    (tmp_path / "test_it.py").write_text(_FAILS)
    words = (sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "--rootdir", tmp_path)
    done = subprocess.run([*words, tmp_path], capture_output=True, text=True, cwd=_ROOT, check=False)
    assert "1 failed" in done.stdout, done.stdout
    assert done.returncode == 1, done.stdout
    assert "INTERNALERROR" not in done.stdout
