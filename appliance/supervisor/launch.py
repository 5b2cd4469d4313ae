"""What is started for one replica, with a word on where each part of it comes from. Values."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Part:
    """Some words of a command line that belong together, as a flag and its value do.

    Attributes:
        words: in order.
        origin: the setting they come from, or why the appliance adds them.
    """

    words: tuple[str, ...]
    origin: str


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start.

    Attributes:
        parts: the command line.
        env: variables for the child beside those it inherits; may hold its key.
        secrets: the names among them whose values nobody may see.
    """

    parts: tuple[Part, ...]
    env: Mapping[str, str]
    secrets: frozenset[str] = field(default=frozenset())

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line."""
        return tuple(word for part in self.parts for word in part.words)

    def __repr__(self) -> str:
        return f"Launch({self.argv[0]!r}, …)"


def flag(origin: str, *words: object) -> Part:
    """A part from a flag and its values."""
    return Part(tuple(str(word) for word in words), origin)


def visible(gpus: tuple[int, ...] | None) -> dict[str, str]:
    """Variables that show these GPUs alone to a process, in this order; none of them hides every GPU.

    The first makes CUDA count as the driver does, and so as the settings and `appliance status` do; by itself it
    counts the fastest first.
    """
    if gpus is None:
        return {}
    listed = ",".join(str(index) for index in gpus)
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": listed, "HIP_VISIBLE_DEVICES": listed}
