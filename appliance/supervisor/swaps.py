"""Who made room for whom, until it is known whether that was worth it. Pure."""

from collections.abc import Collection, Mapping

from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.supervisor.box import View

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

    def forsaken(self, views: Mapping[str, View], replaced: Collection[str] = ()) -> dict[str, list[str]]:
        """Who was to come, and nobody wants it any more before it was ready; who gets the room back.

        Not before all of these are gone: what drains ends before it can come again.

        Args:
            views: of every replica, by name.
            replaced: runtimes that are stopped only to come again.
        """
        over = {
            coming: gone
            for coming, gone in self._gone.items()
            if not _may_come(views.get(coming), replaced)
            and not any(views[name].going for name in gone if name in views)
        }
        for coming in over:
            del self._gone[coming]
        return over


def _may_come(view: View | None, replaced: Collection[str]) -> bool:
    if view is None:
        return False
    if view.state is S.SLEEPING:
        return bool(view.asked or view.urgent)
    return view.loaded or view.needed or view.runtime in replaced
