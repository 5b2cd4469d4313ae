"""What a state directory's processes leave behind when nobody looks after them any more: found and removed.

For the moment after a service has ended for good. Only what carries the state directory's own tag is ended, and only
while no appliance holds the directory.
"""

from pathlib import Path

from appliance.supervisor import cgroup, records
from appliance.supervisor.socket_paths import clear
from appliance.supervisor.state_dir import RUN, known_instance, locked
from appliance.supervisor.tree import Removed, remove_tagged


async def reap(state_dir: Path) -> Removed:
    """End every process of this state directory. Nothing happens, twice or more often, when there is none.

    Raises:
        OperatorError: an appliance runs with this directory, or it cannot be used.
    """
    if (instance := known_instance(state_dir)) is None:
        return Removed([], [])
    with locked(state_dir):
        run = state_dir / RUN
        saved = records.load(run)
        leaves = [leaf for one in saved if (leaf := cgroup.adopt(one.record.cgroup, instance)) is not None]
        for leaf in leaves:  # they may hold what has lost its tag
            leaf.kill()
        removed = await remove_tagged(instance)
        for leaf in leaves:
            leaf.remove()
        if not removed.left:
            for one in saved:
                records.forget(run, one.record.replica)
            clear(state_dir)
        return removed
