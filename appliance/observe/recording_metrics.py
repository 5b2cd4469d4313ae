"""How the files that we keep do, usage and events. Whoever writes one keeps the numbers, read at each scrape."""

from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from appliance.observe.families import Asked
from appliance.observe.maker import Maker

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)


class Recorded(Protocol):
    """Whoever writes a file; see `storage.writer.Writer`."""

    @property
    def waiting(self) -> int:
        """Rows that are not in the file yet."""
        ...

    written: int
    dropped: int
    failures: int
    broken: int
    bytes: int
    trouble: str


class RecordingMetrics:
    """The families; there are no series before `watch`."""

    def __init__(self, make: Maker) -> None:
        self._watched: dict[str, Recorded] = {}
        numbers: tuple[tuple[str, str, Callable[[Recorded], float]], ...] = (
            ("rows_waiting", "Rows that are not in their file yet.", lambda one: one.waiting),
            ("rows_written_total", "Rows that were written.", lambda one: one.written),
            ("rows_dropped_total", "Rows that never got into their file.", lambda one: one.dropped),
            (
                "failures_total",
                "Batches of rows that could not be written, and were tried again.",
                lambda one: one.failures,
            ),
            ("files_broken_total", "Files that were found broken and set aside.", lambda one: one.broken),
            ("file_bytes", "Size of a file with its journal, as of the last batch.", lambda one: one.bytes),
            ("up", "1 while a file can be written.", lambda one: not one.trouble),
        )
        for name, text, number in numbers:
            kind: Literal["counter", "gauge"] = "counter" if name.endswith("_total") else "gauge"
            family = Asked(f"appliance_recording_{name}", text, ["file"], kind=kind)
            family.read = self._reader(number)
            make.add(family)
        self._seconds = make.histogram(
            "appliance_recording_write_seconds",
            "Time that a batch of rows took, with waiting for the thread that writes.",
            _SECONDS,
            "file",
        )

    def watch(self, file: str, writer: Recorded) -> Callable[[float], None]:
        """From now on a file is told of; to be called with the seconds that each batch took.

        Args:
            file: "usage" or "events".
            writer: keeps the numbers.
        """
        self._watched[file] = writer
        return self._seconds[file,].observe

    def _reader(self, number: Callable[[Recorded], float]) -> Callable[[], Mapping[tuple[str, ...], float]]:
        return lambda: {(file,): float(number(writer)) for file, writer in self._watched.items()}
