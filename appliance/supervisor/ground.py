"""What replicas in quarantine stand on: when their program or their model's files change, they get another chance."""

from collections.abc import Iterable

from appliance.domain.status import ReplicaState
from appliance.supervisor import environment
from appliance.supervisor.replica import Replica


class Ground:
    """Remembers what the files of each were."""

    def __init__(self) -> None:
        self._known: dict[str, object] = {}

    def changed(self, replicas: Iterable[Replica]) -> list[Replica]:
        """Those in quarantine whose files are others than at the last look. Blocks for a moment."""
        found = []
        for replica in replicas:
            if replica.status.state is not ReplicaState.QUARANTINED:
                self._known.pop(replica.name, None)
                continue
            ground = environment.ground(replica.runtime)
            if self._known.setdefault(replica.name, ground) != ground:
                found.append(replica)
        return found
