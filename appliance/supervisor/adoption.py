"""What an earlier run of this state directory left behind: taken over when it is provably ours, else ended."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import trio

from appliance.supervisor import life as lives
from appliance.supervisor import records
from appliance.supervisor.life import Life, Place
from appliance.supervisor.replica import Replica
from appliance.supervisor.tree import remove_tagged

_LOG = logging.getLogger("appliance.supervisor")


async def adopt(
    replicas: Mapping[str, Replica], run_dir: Path, instance: str, place: Callable[[str], Place]
) -> dict[str, Life]:
    """Take over what can be, and end the rest of what carries our tag.

    Args:
        replicas: of today's configuration.
        run_dir: where the records are.
        instance: the id of the state directory.
        place: where a replica lives.

    Returns:
        The processes that go on, by replica.
    """
    found: dict[str, Life] = {}
    saved_all: list[records.Saved] = []
    with suppress(OSError):
        saved_all = records.load(run_dir)
    for saved in saved_all:
        name = saved.record.replica
        replica = replicas.get(name)
        why: str | Life = "it is not in the configuration any more"
        if replica is not None:
            why = await lives.adopt(replica.runtime, place(name), saved, trio.current_time())
        if isinstance(why, str):
            _LOG.warning("%s of an earlier run is not taken over: %s", name, why)
            records.forget(run_dir, name)
        elif replica is not None:
            _LOG.info("%s goes on: taken over from an earlier run, pid %d", name, why.process.pid)
            replica.last_start = saved.record.learned or None
            found[name] = why
    spare = set()
    for life in found.values():
        spare |= await trio.to_thread.run_sync(life.tree.members)
    if removed := await remove_tagged(instance, spare):
        _LOG.warning("ended %d model server processes of an earlier run", len(removed))
    return found
