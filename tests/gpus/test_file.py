import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from appliance.domain.gpus import Holder, Vitals
from appliance.gpus.file import FileSource

ONE: dict[str, Any] = {"index": 0, "total": 100, "used": 30, "free": 70}


def source(tmp_path: Path, content: object) -> FileSource:
    file = tmp_path / "gpus.json"
    file.write_text(json.dumps(content))
    return FileSource(file)


def test_it_is_read_anew_each_time(tmp_path: Path) -> None:
    look = source(tmp_path, {"gpus": [ONE]})
    (gpu,) = look()
    assert (gpu.index, gpu.total, gpu.used, gpu.free, gpu.known, gpu.fault) == (0, 100, 30, 70, True, "")
    source(tmp_path, {"gpus": [ONE, {"index": 1, "total": 5}]})
    assert [(gpu.index, gpu.free) for gpu in look()] == [(0, 70), (1, 5)]


def test_who_has_ended_holds_memory_and_is_not_named(tmp_path: Path) -> None:
    here = {"pid": os.getpid(), "user": "ann", "command": "train.py", "bytes": 20}
    gone = {"pid": 2**22 + 1, "user": "bob", "command": "x", "bytes": 10}
    (gpu,) = source(tmp_path, {"gpus": [ONE | {"holders": [here, gone]}]})()
    assert gpu.holders == (Holder(os.getpid(), "ann", "train.py", 20),)
    assert gpu.used == 30


def test_faults(tmp_path: Path) -> None:
    gpus = source(tmp_path, {"gpus": [ONE | {"xid": 79}, ONE | {"xid": 31}, ONE | {"fault": "smoke"}]})()
    assert ["Xid 79" in gpus[0].fault, gpus[1].fault, gpus[2].fault] == [True, "", "smoke"]


def test_how_it_does(tmp_path: Path) -> None:
    told = {
        "power_limit": 700,
        "energy": 5,
        "clocks": {"sm": 2e9},
        "throttled": {"hw_thermal": 3},
        "ecc": {"corrected": 1},
    }
    plain, whole, xid = source(tmp_path, {"gpus": [ONE, ONE | told | {"xids": {"31": 2}}, ONE | {"xid": 79}]})()
    assert plain.vitals == Vitals()
    assert whole.vitals == Vitals(700, 5, {"sm": 2e9}, {"hw_thermal": 3}, {"corrected": 1}, {31: 2})
    assert xid.vitals.xids == {79: 1}


def test_everything_that_a_gpu_may_tell_can_be_in_the_file(tmp_path: Path) -> None:
    told: dict[str, Any] = {
        "fan": 30,
        "traffic": {"sent": 5e6},
        "lanes": {"now": 8},
        "memory_temperature": 90,
        "replays": 2,
    }
    (gpu,) = source(tmp_path, {"gpus": [ONE | told | {"driver": "1.2", "cuda": "13.0"}]})()
    assert gpu.vitals == Vitals(**told)
    assert (gpu.vendor, gpu.driver, gpu.cuda) == ("file", "1.2", "13.0")


def test_a_driver_that_hangs(tmp_path: Path) -> None:
    look, began = source(tmp_path, {"hang": 0.2, "gpus": []}), time.monotonic()
    assert look() == []
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"gpus": [{}]},
        {"gpus": 3},
        [],
        {"gpus": [{"index": 0, "total": "many"}]},
        {"gpus": [{"index": 0, "total": 5, "energy": "x"}]},
    ],
)
def test_what_says_something_else(tmp_path: Path, content: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        source(tmp_path, content)()


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileSource(tmp_path / "none")()
