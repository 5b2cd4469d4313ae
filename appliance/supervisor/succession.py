"""What a new process of ours takes over from the one that still runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import trio

from appliance.supervisor.handing import Handed
from appliance.supervisor.replica import Replica


@dataclass(frozen=True, slots=True)
class Succession:
    """See the module; `passing` has the whole story.

    Attributes:
        lock: of the state directory, open.
        running: the processes.
        unloaded: replicas that an operator has ended.
        go: set when they are to be looked after; they are ours with `Supervisor.ours`.
    """

    lock: int
    running: Sequence[Handed]
    unloaded: Sequence[str] = ()
    go: trio.Event = field(default_factory=trio.Event)

    def prove(self, replicas: Mapping[str, Replica]) -> None:
        """Tell each replica what the old process knows of it."""
        for one in self.running:
            replica = replicas[one.replica]
            replica.last_start = one.last_start or None
            replica.proven = one.slots if one.ready else None
