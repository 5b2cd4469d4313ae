"""What an earlier run of this state directory left behind: taken over when it is provably ours, else ended. What a run
that still lives hands over is only held at first, since that one may have to go on with it.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import trio

from appliance.errors import OperatorError
from appliance.supervisor import life as lives
from appliance.supervisor import records
from appliance.supervisor.handing import Handed
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


async def hold(
    replicas: Mapping[str, Replica], run_dir: Path, handed: Sequence[Handed], place: Callable[[str], Place]
) -> dict[str, Life]:
    """Get hold of every process that another run hands over. Changes nothing: neither processes nor records.

    Raises:
        OperatorError: one of them cannot be taken over; the text says which and why.
    """
    found: dict[str, Life] = {}
    try:
        by_name = {saved.record.replica: saved for saved in records.load(run_dir)}
    except OSError as error:
        raise OperatorError(f"cannot read {run_dir}: {error.strerror}") from error
    for one in handed:
        replica, saved = replicas.get(one.replica), by_name.get(one.replica)
        why: str | Life = "it has no record, which a full disk can do"
        if replica is None:
            why = "it is not in the configuration any more"
        elif saved is not None and saved.record.pid == one.pid:
            why = await lives.adopt(replica.runtime, place(one.replica), saved, trio.current_time())
        if isinstance(why, str):
            for life in found.values():
                life.process.release()
            raise OperatorError(f"{one.replica} could not be taken over while it runs: {why}")
        found[one.replica] = why
    return found
