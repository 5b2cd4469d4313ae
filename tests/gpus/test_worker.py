import io
from pathlib import Path

import msgspec
import pytest

from appliance.domain.gpus import Gpu
from appliance.gpus.amd import AmdSource
from appliance.gpus.file import FileSource
from appliance.gpus.worker import Answer, Source, found, source, work

GPU = Gpu(0, "GPU-0", "x", 10, 4, 6)


def answers(open_source: Source, questions: int) -> list[Answer]:
    out = io.BytesIO()
    work(lambda: open_source, io.BytesIO(b"\n" * questions), out)
    return [msgspec.json.decode(line, type=Answer) for line in out.getvalue().splitlines()]


def test_it_says_that_it_is_there_and_answers_every_line() -> None:
    assert answers(lambda: [GPU], 2) == [Answer(), Answer([GPU]), Answer([GPU])]


def test_a_library_that_fails_is_opened_anew() -> None:
    opened: list[str] = []

    def open_source() -> Source:
        opened.append("again")

        def look() -> list[Gpu]:
            if len(opened) == 1:
                raise RuntimeError("driver/library version mismatch")
            return [GPU]

        return look

    out = io.BytesIO()
    work(open_source, io.BytesIO(b"\n\n"), out)
    _, first, second = [msgspec.json.decode(line, type=Answer) for line in out.getvalue().splitlines()]
    assert first.trouble == "RuntimeError: driver/library version mismatch"
    assert second == Answer([GPU])


def test_nobody_listens_any_more() -> None:
    class Broken(io.BytesIO):
        def write(self, data: object) -> int:
            if self.tell():
                raise BrokenPipeError
            return super().write(data)  # type: ignore[arg-type]

    work(lambda: lambda: [GPU], io.BytesIO(b"\n\n\n"), Broken())


def test_what_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(tmp_path / "gpus.json")
    assert isinstance(source(tmp_path / "gpus.json"), FileSource)
    monkeypatch.setattr("appliance.gpus.worker.DRIVER", tmp_path / "none")
    monkeypatch.setattr("appliance.gpus.amd.DRM", tmp_path)
    assert isinstance(source(None), AmdSource)


def test_an_nvidia_driver_without_its_library_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "version").touch()
    monkeypatch.setattr("appliance.gpus.worker.DRIVER", tmp_path / "version")
    assert found(None)
    out = io.BytesIO()
    work(lambda: source(None), io.BytesIO(b"\n"), out)
    assert "NVMLError" in out.getvalue().decode()
