"""The machine and ourselves, looked at now and then: space on disks, free memory, how late the event loop is.

A file system that does not answer (a network's, most often) holds up the thread that asks, and nobody else: the disk is
then told as unknown.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import trio

from appliance.observe.families import Buckets, Cell, Series
from appliance.observe.maker import Maker

_EVERY = 15.0  # seconds between two looks
_PATIENCE = 5.0  # seconds for one disk to answer
_TICK = 0.25  # seconds between two readings of the event loop's lag
_LAG = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)


class HostMetrics:
    """The families."""

    def __init__(self, make: Maker) -> None:
        self.free: Series[Cell] = make.gauge(
            "appliance_disk_free_bytes", "Space on a disk that we may use; NaN while it does not answer.", "disk"
        )
        self.size: Series[Cell] = make.gauge("appliance_disk_size_bytes", "Size of a disk.", "disk")
        self.memory: Series[Cell] = make.gauge(
            "appliance_host_memory_available_bytes", "Memory that programs can still have without swapping."
        )
        self.lag: Series[Buckets] = make.histogram(
            "appliance_event_loop_lag_seconds", "How much later than asked for the event loop woke a task.", _LAG
        )


@dataclass(frozen=True, slots=True)
class Host:
    """Looks.

    Attributes:
        metrics: is told.
        disks: a path on each disk that matters, by the name that the disk is told under.
        memory: where the kernel tells about memory.
    """

    metrics: HostMetrics
    disks: Mapping[str, str]
    memory: Path = Path("/proc/meminfo")

    async def run(self) -> None:
        """Look until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._loop, name="loop lag")
            for name, path in self.disks.items():
                nursery.start_soon(self._disk, name, path, name=f"disk {name}")
            while True:
                self.look_at_memory()
                await trio.sleep(_EVERY)

    def look_at_memory(self) -> None:
        """Once; the kernel answers at once."""
        with suppress(OSError, ValueError, IndexError):
            for line in self.memory.read_text(encoding="ascii").splitlines():
                if line.startswith("MemAvailable:"):
                    self.metrics.memory[()].value = int(line.split()[1]) * 1024

    async def _loop(self) -> None:
        lag = self.metrics.lag[()]
        while True:
            due = trio.current_time() + _TICK
            await trio.sleep_until(due)
            lag.observe(trio.current_time() - due)

    async def _disk(self, name: str, path: str) -> None:
        limiter = trio.CapacityLimiter(1)  # one thread that hangs, and no second one
        while True:
            free, size = float("nan"), float("nan")
            with suppress(OSError):
                free, size = await answered(path, limiter) or (free, size)
            self.metrics.free[name,].value = free
            self.metrics.size[name,].value = size
            await trio.sleep(_EVERY)


async def answered(path: str, limiter: trio.CapacityLimiter) -> tuple[float, float] | None:
    """What `space` says; None when the disk does not answer in time.

    Raises:
        OSError: it cannot be asked.
    """
    with trio.move_on_after(_PATIENCE):
        return await trio.to_thread.run_sync(space, path, limiter=limiter, abandon_on_cancel=True)
    return None


def space(path: str) -> tuple[float, float]:
    """Bytes that we may use, and all there are, on the disk of a path or of its nearest parent that exists.

    Raises:
        OSError: it cannot be asked.
    """
    place = Path(path)
    while not place.exists() and place != place.parent:
        place = place.parent
    seen = os.statvfs(place)
    return float(seen.f_bavail * seen.f_frsize), float(seen.f_blocks * seen.f_frsize)
