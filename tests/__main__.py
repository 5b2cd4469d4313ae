"""The gate: `python -m tests`. Format, lint, types, then every test that needs nothing but Python."""

import os
import subprocess
import sys
import time
from pathlib import Path

_ROOT = Path(__file__).parent.parent
# Half of the tests wait for processes, so two for each core are no crowd. A file stays with one of them: its tests share a
# running product.
_WORKERS = ("-n", str(2 * (os.cpu_count() or 1)), "--dist", "loadfile")
_TESTS = ("pytest", "-q", "-m", "not system")
_STEPS = (
    ("format", ("ruff", "format", "--check")),
    ("lint", ("ruff", "check")),
    ("types", ("mypy",)),
    ("types of a newer Python", ("mypy", "--python-version", "3.14", "appliance")),  # what it has removed is not found
    ("tests", (*_TESTS, *_WORKERS)),
)
# What failed in the crowd has one more try alone: a failure of its own fails again, a machine too busy does not. Each that
# needed it is named, for a test that needs it twice is a wrong test.
_ALONE = (*_TESTS, "--last-failed", "--last-failed-no-failures", "none")
_SOME_FAILED = 1  # pytest's exit code; others are an interrupted or a broken run, which no second try mends
_FEW = 10


def main() -> int:
    """Run every step, also after one failed; the exit code."""
    failed = []
    for name, command in _STEPS:
        print(f"── {name}", flush=True)
        started = time.monotonic()
        code = _run(command)
        print(f"   {time.monotonic() - started:.1f} s", flush=True)
        if name == "tests" and code == _SOME_FAILED:
            code = _alone()
        if code:
            failed.append(name)
    print(f"FAILED: {', '.join(failed)}" if failed else "all good", flush=True)
    return 1 if failed else 0


def _run(command: tuple[str, ...]) -> int:
    return subprocess.run([sys.executable, "-m", *command], cwd=_ROOT, check=False).returncode


def _alone() -> int:
    cache = _ROOT / ".pytest_cache" / "v" / "cache" / "lastfailed"
    names = cache.read_text().splitlines()[1:-1]
    if len(names) > _FEW:
        return _SOME_FAILED
    print("── once more, alone:", *names, sep="\n", flush=True)
    return _run(_ALONE)


if __name__ == "__main__":
    sys.exit(main())
