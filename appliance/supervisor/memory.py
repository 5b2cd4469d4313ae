"""What is known of GPU memory: the last two looks at the GPUs, and what each runtime was seen to hold.

A runtime whose `memory` is not declared has what it held at most while it was ready. That is kept in `learned.json` of
the state directory, under a hash of the settings that decide it: the first start after a change is a guess again, and
every later one is not.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable, Container, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec
import trio

from appliance.config.schema import Runtime
from appliance.domain.gpus import Gpu, GpuSnapshot
from appliance.durable import replace_file

Gpus = Callable[[], Awaitable[GpuSnapshot]]
FILE = "learned.json"
_DECIDES = ("engine", "model", "args", "command", "context", "slots", "gpus", "replicas")
_WORTH = 1.02  # what is learned is written down when it has grown by this factor
_LONGEST = 2**20  # bytes of the file


class GpuMemory:
    """One for the supervisor.

    Args:
        read: looks at the GPUs; must not hang. None on a box without any.
        state_dir: where `learned.json` is.

    Attributes:
        looked: when the last look began, as `trio.current_time` says it.
    """

    def __init__(self, read: Gpus | None, state_dir: Path) -> None:
        self._read = read
        self._path = state_dir / FILE
        self._looks: tuple[GpuSnapshot, ...] = ()  # the last two
        self._learned: dict[str, int] = {}
        self._limiter = trio.CapacityLimiter(1)
        self.looked = 0.0

    @property
    def watched(self) -> bool:
        """There is somebody to ask."""
        return self._read is not None

    @property
    def unseen(self) -> bool:
        """There are GPUs, perhaps, and nobody has looked yet: nothing may start."""
        return self._read is not None and not self._looks

    async def look(self) -> None:
        """Ask once more."""
        if self._read is not None:
            began = trio.current_time()
            self._looks, self.looked = (*self._looks, await self._read())[-2:], began

    def gpus(self, ours: Container[int] = ()) -> tuple[Gpu, ...] | None:
        """The GPUs, each with the least free memory of the last two looks; None on a box without.

        Args:
            ours: pids of our own, which are left out of the holders.
        """
        if not self._looks or not self._looks[-1].gpus:
            return None
        before = {gpu.index: gpu.free for gpu in self._looks[0].gpus}
        found = []
        for gpu in self._looks[-1].gpus:
            rising = max(0, gpu.free - before.get(gpu.index, gpu.free))
            holders = tuple(holder for holder in gpu.holders if holder.pid not in ours)
            found.append(replace(gpu, free=gpu.free - rising, rising=rising, holders=holders))
        return tuple(found)

    def total(self, indices: Iterable[int]) -> int | None:
        """Memory of the smallest of some GPUs, bytes; None when they are not known."""
        wanted = set(indices)
        return min((gpu.total for gpu in self.gpus() or () if gpu.index in wanted), default=None)

    def held(self, pids: Container[int]) -> int | None:
        """Bytes that processes hold on all GPUs together; None when that cannot be known."""
        if not self._looks or not self._looks[-1].gpus:
            return None
        return sum(holder.bytes for gpu in self._looks[-1].gpus for holder in gpu.holders if holder.pid in pids)

    def held_by_gpu(self, pids: Container[int]) -> dict[int, int]:
        """Bytes that processes hold, by the index of the GPU; without those that do not answer."""
        gpus = [gpu for gpu in self._looks[-1].gpus if gpu.known] if self._looks else []
        return {gpu.index: held for gpu in gpus if (held := sum(one.bytes for one in gpu.holders if one.pid in pids))}

    def most(self, pids: Container[int]) -> int:
        """Bytes that processes hold on the GPU where they hold most; 0 when none or unknown."""
        gpus = self._looks[-1].gpus if self._looks else ()
        return max((sum(one.bytes for one in gpu.holders if one.pid in pids) for gpu in gpus), default=0)

    def need(self, runtime: Runtime) -> int:
        """Bytes that a replica of a runtime needs on each of its GPUs, declared or learned; 0 when unknown."""
        return int(runtime.memory or 0) or self._learned.get(_settings(runtime), 0)

    def load(self) -> None:
        """Remember what earlier runs have learned. A file that cannot be read is as good as none."""
        try:
            known = json.loads(self._path.read_bytes()[:_LONGEST])
            self._learned = {str(key): int(value) for key, value in known.items() if int(value) > 0}
        except (OSError, ValueError, AttributeError, TypeError):
            self._learned = {}

    async def learn(self, runtime: Runtime, held: int) -> bool:
        """A ready replica holds so many bytes on a GPU; whether that is news. Never raises because of a disk."""
        key = _settings(runtime)
        if runtime.memory or held <= self._learned.get(key, 0) * _WORTH:
            return False
        self._learned[key] = held
        await trio.to_thread.run_sync(_write, self._path, json.dumps(self._learned, indent=1), limiter=self._limiter)
        return True


def _settings(runtime: Runtime) -> str:
    chosen = [getattr(runtime, name) for name in _DECIDES]
    return hashlib.sha256(msgspec.json.encode(chosen, enc_hook=str)).hexdigest()[:16]


def _write(path: Path, text: str) -> None:
    with suppress(OSError):  # a full disk: it will be learned again
        replace_file(path, text.encode())
