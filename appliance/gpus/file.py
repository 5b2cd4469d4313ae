"""A JSON file in place of a driver.

`{"gpus": [{"index": 0, "total": …, "used": …, "free": …, "holders": [{"pid", "user", "command", "bytes"}]}]}`, in
bytes. Each GPU may also have `uuid`, `name`, `driver`, `cuda`, `utilization`, `temperature`, `power`, `fault` (words),
`xid` (a number) and everything of `domain.gpus.Vitals` under its name there. Beside `gpus`, `hang` is how many seconds
each look takes, as a driver's library that hangs would.
"""

import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec

from appliance.domain.gpus import Gpu, Holder, Vitals
from appliance.gpus import faults
from appliance.gpus.processes import alive


class FileSource:
    """Reads the file anew each time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self) -> list[Gpu]:
        """What the file says now.

        Raises:
            OSError: it cannot be read.
            ValueError: it does not say that.
        """
        content: dict[str, Any] = msgspec.json.decode(self._path.read_bytes(), type=dict[str, Any])
        time.sleep(float(content.get("hang", 0)))
        try:
            return [_gpu(entry) for entry in content["gpus"]]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{self._path}: {type(error).__name__}: {error}") from error


def _gpu(entry: dict[str, Any]) -> Gpu:
    total = int(entry["total"])
    used = int(entry.get("used", 0))
    holders = [Holder(one["pid"], one["user"], one["command"], one["bytes"]) for one in entry.get("holders", ())]
    index = int(entry["index"])
    return Gpu(
        index,
        entry.get("uuid", f"GPU-{index}"),
        entry.get("name", "file"),
        total,
        used,
        int(entry.get("free", total - used)),
        tuple(holder for holder in holders if alive(holder.pid)),
        fault=entry.get("fault", "") or faults.of_xid(int(entry.get("xid", 0))),
        utilization=entry.get("utilization"),
        temperature=entry.get("temperature"),
        power=entry.get("power"),
        vitals=_vitals(entry),
        vendor="file",
        driver=entry.get("driver", ""),
        cuda=entry.get("cuda", ""),
    )


def _vitals(entry: dict[str, Any]) -> Vitals:
    told = {field.name: entry[field.name] for field in fields(Vitals) if field.name in entry}
    if "xid" in entry:
        told.setdefault("xids", {entry["xid"]: 1})
    return msgspec.convert(told, Vitals, strict=False)  # the keys of JSON are strings
