import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from appliance.domain.gpus import Gpu
from appliance.gpus.reader import GpuReader, reader_of

ENV = {"PATH": os.defpath}
ONE = {"index": 0, "total": 100, "used": 30, "free": 70}


def write(file: Path, **content: Any) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps({"gpus": [ONE]} | content))
    fresh.replace(file)


@asynccontextmanager
async def reading(*command: str, patience: float = 10) -> AsyncIterator[GpuReader]:
    reader = GpuReader([sys.executable, *command], ENV, patience=patience)
    try:
        with trio.fail_after(60):
            yield reader
    finally:
        await reader.aclose()


def worker(file: Path) -> tuple[str, ...]:
    return ("-m", "appliance", "_gpus", "--file", str(file))


async def test_the_worker_is_asked_again_and_again(tmp_path: Path) -> None:
    file = tmp_path / "gpus.json"
    write(file)
    async with reading(*worker(file)) as reader:
        first = (await reader.read()).gpus
        write(file, gpus=[ONE | {"free": 20}])
        second = (await reader.read()).gpus
    assert [(gpu.free, gpu.known) for gpu in (*first, *second)] == [(70, True), (20, True)]
    assert reader.timeouts == 0


async def test_a_driver_that_hangs_leaves_what_was_seen_and_is_asked_anew(tmp_path: Path) -> None:
    file = tmp_path / "gpus.json"
    write(file)
    async with reading(*worker(file), patience=1) as reader:
        await reader.read()
        write(file, hang=60)
        (gpu,) = (await reader.read()).gpus
        assert (gpu.free, gpu.known) == (70, False)
        assert reader.timeouts == 1
        assert "did not answer within 1 s" in reader.trouble
        write(file)
        (gpu,) = (await reader.read()).gpus
        assert (gpu.known, reader.trouble) == (True, "")


async def test_a_worker_that_is_killed_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "gpus.json"
    write(file)
    async with reading(*worker(file)) as reader:
        await reader.read()
        process = reader._worker
        assert process is not None
        process.send_signal(signal.SIGKILL)
        await process.wait()
        assert [gpu.known for gpu in (await reader.read()).gpus] == [False]
        assert [gpu.known for gpu in (await reader.read()).gpus] == [True]


@pytest.mark.parametrize(
    "program",
    [
        "",  # ends at once
        "print('nonsense', flush=True); input(); print('more', flush=True); input()",
        "import sys; sys.stdout.write('x' * 3_000_000); sys.stdout.flush()",
        "raise SystemExit(3)",
    ],
)
async def test_a_worker_that_is_none(program: str) -> None:
    async with reading("-c", program) as reader:
        assert (await reader.read()).gpus == ()
        assert "failed" in reader.trouble
        assert (await reader.read()).gpus == ()


async def test_a_program_that_is_not_there() -> None:
    reader = GpuReader(["/no/such/program"], ENV)
    assert (await reader.read()).gpus == ()
    assert "No such file" in reader.trouble


async def test_what_the_driver_says_went_wrong_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with reading(*worker(tmp_path / "none.json")) as reader:
        await reader.read()
        await reader.read()
        write(tmp_path / "none.json")
        await reader.read()
    said = [record.getMessage() for record in caplog.records if record.name == "appliance.gpus"]
    assert len(said) == 2
    assert "FileNotFoundError" in said[0]
    assert "answers again" in said[1]


async def test_cancelled_in_the_middle_it_asks_anew_later(tmp_path: Path) -> None:
    file = tmp_path / "gpus.json"
    write(file, hang=0.3)
    async with reading(*worker(file)) as reader:
        await reader.read()
        with trio.move_on_after(0.05):
            await reader.read()
        write(file, gpus=[ONE | {"free": 1}])
        (gpu,) = (await reader.read()).gpus
        assert gpu.free == 1


async def test_it_tells_what_it_sees(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def told(gpus: Sequence[Gpu], timeouts: int) -> None:
        seen.append((len(gpus), timeouts))

    write(tmp_path / "gpus.json")
    reader = reader_of(str(tmp_path / "gpus.json"), ENV, told)
    assert reader is not None
    await reader.read()
    assert seen == [(1, 0)]
    assert reader.last()[0].total == 100
    await reader.aclose()


def test_a_box_without_gpus_has_no_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.gpus.reader.found", lambda file: False)
    assert reader_of("", ENV, lambda gpus, timeouts: None) is None
