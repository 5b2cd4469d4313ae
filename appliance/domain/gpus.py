"""The GPUs of this box as last seen."""

from dataclasses import dataclass


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
        return f"pid {self.pid} ({self.user}, {self.command}, {self.bytes // 2**20} MiB)"


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


@dataclass(frozen=True, slots=True)
class GpuSnapshot:
    """All GPUs at one time.

    Attributes:
        gpus: by index; empty on a box without any.
        taken: monotonic seconds.
    """

    gpus: tuple[Gpu, ...] = ()
    taken: float = 0.0
