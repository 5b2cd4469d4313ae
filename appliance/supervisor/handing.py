"""The model processes, handed to another process of ours that goes on with them. Pure.

The new one finds them by their records, as it does after a crash (`adoption`). What is said here beside that is what
only the old one knows, and what makes sure that both mean the same processes.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Handed:
    """One running replica.

    Attributes:
        pid: of its top process.
        ready: it serves: the new owner need not ask it whether it can, in the midst of its work.
        slots: as in its row.
        last_start: seconds that its last complete start took; 0 when unknown.
    """

    replica: str
    pid: int
    ready: bool
    slots: int
    last_start: float
