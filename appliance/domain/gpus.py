"""The GPUs of this box as last seen."""

from collections.abc import Mapping
from dataclasses import dataclass, field


def gib(size: float, digits: int = 1) -> str:
    """Bytes of GPU memory in words, the same wherever they are told."""
    return f"{size / 2**30:.{digits}f} GiB"


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds memory of a GPU.

    Attributes:
        pid: of the process.
        user: whose it is.
        command: its command line, shortened.
        bytes: of GPU memory.
    """

    pid: int
    user: str
    command: str
    bytes: int

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.user}, {self.command}, {gib(self.bytes)})"


@dataclass(frozen=True, slots=True)
class Vitals:
    """How a GPU does, beside what decides about its use; None or empty where its driver does not tell.

    Attributes:
        power_limit: watts that it may draw.
        energy: joules since its driver was loaded.
        clocks: hertz now, of "sm" and "memory".
        throttled: seconds in which its clock was held down, by reason, a word of `THROTTLES`; since we look.
        ecc: memory errors since its driver was loaded, "corrected" and "uncorrected".
        xids: how often the driver reported each Xid error, by its number; since we look.
        fan: percent of its fans' full speed.
        memory_busy: percent of the last second in which its memory was read or written.
        memory_temperature: degrees Celsius of its memory.
        memory_reserved: bytes of its memory that the driver keeps for itself.
        traffic: bytes a second over PCIe, "sent" and "received" by the GPU.
        lanes: of its PCIe link, "now" and "most" (what it and its slot could have).
        generation: of its PCIe link, the same.
        replays: PCIe packets that had to be sent again since its driver was loaded.
    """

    power_limit: float | None = None
    energy: float | None = None
    clocks: Mapping[str, float] = field(default_factory=dict)
    throttled: Mapping[str, float] = field(default_factory=dict)
    ecc: Mapping[str, int] = field(default_factory=dict)
    xids: Mapping[int, int] = field(default_factory=dict)
    fan: float | None = None
    memory_busy: float | None = None
    memory_temperature: float | None = None
    memory_reserved: int | None = None
    traffic: Mapping[str, float] = field(default_factory=dict)
    lanes: Mapping[str, int] = field(default_factory=dict)
    generation: Mapping[str, int] = field(default_factory=dict)
    replays: int | None = None


THROTTLES = ("power_cap", "thermal", "hw_thermal", "power_brake", "hw_slowdown", "sync_boost")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. Memory in bytes.

    Attributes:
        index: as in `gpus = [0]`.
        fault: why it must not be used, in words; "" when nothing is wrong with it.
        known: it answered; an unanswering one keeps what it serves and gets nothing new.
        utilization: percent of the last second; None when not told.
        temperature: degrees Celsius.
        power: watts.
        rising: bytes that became free since the look before; they are free once they have been seen twice.
        vitals: how it does.
        vendor: "nvidia", "amd", or "file" for one of a file.
        driver: its version; "" where it does not say.
        cuda: the newest CUDA that the driver can do; "" where there is none.
    """

    index: int
    uuid: str
    name: str
    total: int
    used: int
    free: int
    holders: tuple[Holder, ...] = ()
    fault: str = ""
    known: bool = True
    utilization: float | None = None
    temperature: float | None = None
    power: float | None = None
    rising: int = 0
    vitals: Vitals = Vitals()
    vendor: str = ""
    driver: str = ""
    cuda: str = ""


@dataclass(frozen=True, slots=True)
class GpuSnapshot:
    """All GPUs at one time.

    Attributes:
        gpus: by index; empty on a box without any.
        taken: monotonic seconds.
    """

    gpus: tuple[Gpu, ...] = ()
    taken: float = 0.0
