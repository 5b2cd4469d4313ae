"""A disk that is really full: serving goes on, nothing is lost that was there, and it resumes when there is room."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from appliance.domain.secret import Secret
from appliance.supervisor import records
from appliance.supervisor.records import Record, Saved
from appliance.supervisor.spawn import launch
from appliance.supervisor.tail import Tail

SIZE = 2**20
KEY = Secret("k")
# Writes more than there is room for, does not mind, and goes on.
CHATTY = """
import os, time
for number in range(2000):
    try: os.write(1, b"%d " % number + b"x" * 1000 + b"\\n")
    except OSError: pass
    time.sleep(0.001)
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=700", "none", str(place)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True, check=False).returncode != 0:
        pytest.skip("may not mount a file system here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    assert shutil.disk_usage(disk).free == 0
    return filler


def test_a_record_that_does_not_fit_leaves_the_one_before(disk: Path) -> None:
    record = Record("m", "m", 2, 1, "b", "unix", "/s", 0, "c", "/log")
    records.save(disk, record, KEY)
    later = Record("m", "m", 3, 1, "b", "unix", "/s", 0, "c", "/log")
    filler = fill(disk)
    with pytest.raises(OSError, match="No space"):
        records.save(disk, later, KEY)
    assert records.load(disk) == [Saved(record, KEY)]
    filler.unlink()
    records.save(disk, later, KEY)
    assert records.load(disk) == [Saved(later, KEY)]


async def test_a_childs_log_that_fills_the_disk_is_cut_and_the_child_goes_on(disk: Path) -> None:
    path = disk / "log"
    tail = Tail(path, limit=SIZE // 2)
    process = launch([sys.executable, "-c", CHATTY], {}, path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tail.follow)
        with trio.fail_after(40):
            await process.wait()
            while not tail.lines() or not tail.lines()[-1].startswith("1999 "):
                await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    assert process.exit_code() == 0
    process.collect()
    assert tail.dropped < tail.count
