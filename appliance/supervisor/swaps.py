"""Who made room for whom, until it is known whether that was worth it. Pure."""

from appliance.domain.status import ReplicaState, ReplicaStatus

S = ReplicaState


class Swaps:
    """The swaps under way."""

    def __init__(self) -> None:
        self._gone: dict[str, list[str]] = {}  # who made room, by the replica that is to come

    def begin(self, coming: str, going: str) -> bool:
        """One makes room for another; whether that is news."""
        gone = self._gone.setdefault(coming, [])
        if going in gone:
            return False
        gone.append(going)
        return True

    def settle(self, row: ReplicaStatus) -> list[str]:
        """A replica has come to a new state; who gets the room back because it failed."""
        if row.state is S.READY:
            self._gone.pop(row.replica, None)
        elif row.state in (S.BACKOFF, S.QUARANTINED) and row.pid is None:
            return self._gone.pop(row.replica, [])
        return []
