"""The gate: `python -m tests`. Format, lint, types, then every test that needs nothing but Python."""

import subprocess
import sys
import time
from pathlib import Path

_STEPS = (
    ("format", ("ruff", "format", "--check")),
    ("lint", ("ruff", "check")),
    ("types", ("mypy",)),
    ("tests", ("pytest", "-q", "-m", "not system")),
)


def main() -> int:
    """Run every step, also after one failed; the exit code."""
    failed = []
    for name, command in _STEPS:
        print(f"── {name}", flush=True)
        started = time.monotonic()
        result = subprocess.run([sys.executable, "-m", *command], cwd=Path(__file__).parent.parent, check=False)
        print(f"   {time.monotonic() - started:.1f} s", flush=True)
        if result.returncode:
            failed.append(name)
    print(f"FAILED: {', '.join(failed)}" if failed else "all good", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
