"""The process that talks to a driver: every line it gets is a question, every line it writes an answer."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

import msgspec

from appliance.domain.gpus import Gpu
from appliance.gpus.amd import AmdSource
from appliance.gpus.file import FileSource
from appliance.gpus.nvml import DRIVER, NvmlSource

Source = Callable[[], list[Gpu]]


class Answer(msgspec.Struct, omit_defaults=True):
    """A line of the worker's.

    Attributes:
        gpus: what it saw.
        trouble: why it saw nothing; "" when it did.
    """

    gpus: list[Gpu] = []
    trouble: str = ""


def found(file: Path | None) -> bool:
    """Whether there is anything to ask: a driver, or a file in its place. Opens no library."""
    return file is not None or DRIVER.exists() or bool(AmdSource().devices())


def source(file: Path | None) -> Source:
    """The way to look at the GPUs of this box.

    Raises:
        Exception: the driver's library is missing or broken.
    """
    if file is not None:
        return FileSource(file)
    if DRIVER.exists():
        return NvmlSource(importlib.import_module("pynvml"))  # six megabytes that only this process needs
    return AmdSource()


def work(open_source: Callable[[], Source], questions: IO[bytes], answers: IO[bytes]) -> None:
    """Answer until nobody asks any more. The first line, unasked, says that the process is there."""
    _tell(answers, Answer())
    look: Source | None = None
    for _ in questions:
        try:
            look = look or open_source()
            _tell(answers, Answer(look()))
        except BrokenPipeError:
            return
        except Exception as error:  # noqa: BLE001 - a driver's library raises what it likes, and the asker wants to know
            look = None
            _tell(answers, Answer(trouble=f"{type(error).__name__}: {error}"))


def _tell(answers: IO[bytes], answer: Answer) -> None:
    answers.write(msgspec.json.encode(answer) + b"\n")
    answers.flush()
