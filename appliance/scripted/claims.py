"""Memory of GPUs that are not there: claimed and given back in the JSON file that stands for the driver.

The file holds `{"gpus": [{"index", "total", "used", "free", "holders": [{"pid", "user", "command", "bytes"}], …}]}`
in bytes. Several processes may write it at once, so each holds a lock beside it and replaces it whole.
"""

import fcntl
import getpass
import json
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

MIB = 2**20


def claim(file: Path, gpus: Collection[int], pid: int, size: int, command: str = "scripted engine") -> bool:
    """Hold `size` bytes of each GPU for a process, in place of what it held before; false when they are not free."""
    user = getpass.getuser()

    def change(gpu: dict[str, Any]) -> bool:
        if gpu["index"] not in gpus:
            return True
        _drop(gpu, pid)
        if size:
            gpu["holders"].append({"pid": pid, "user": user, "command": command, "bytes": size})
        gpu["used"] += size
        gpu["free"] -= size
        return int(gpu["free"]) >= 0

    return _rewrite(file, change)


def release(file: Path, pid: int) -> None:
    """Give everything back that a process holds."""

    def change(gpu: dict[str, Any]) -> bool:
        _drop(gpu, pid)
        return True

    _rewrite(file, change)


def _drop(gpu: dict[str, Any], pid: int) -> None:
    holders = gpu.setdefault("holders", [])
    held = sum(holder["bytes"] for holder in holders if holder["pid"] == pid)
    gpu["holders"] = [holder for holder in holders if holder["pid"] != pid]
    gpu["used"] = gpu.get("used", 0) - held
    gpu["free"] = gpu.get("free", gpu["total"]) + held


def _rewrite(file: Path, change: Callable[[dict[str, Any]], bool]) -> bool:
    with file.with_name(file.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        content = json.loads(file.read_text("utf-8"))
        results = [change(gpu) for gpu in content["gpus"]]
        if not all(results):
            return False
        fresh = file.with_name(f"{file.name}.{os.getpid()}")
        fresh.write_text(json.dumps(content, indent=1), "utf-8")
        fresh.replace(file)
        return True
