"""What `apply` does to a running supervisor is shown in `test_orders`; here is who waits meanwhile."""

from pathlib import Path

import trio

from appliance.domain.status import ReplicaState
from tests.supervisor.test_supervisor import Box, runtime


async def test_while_a_runtime_is_replaced_it_is_on_its_way_out(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime())
    async with box.running() as supervisor:
        lease = await supervisor.ensure_ready("m")
        supervisor.apply([runtime(slots=2)])
        assert supervisor.renewal.under_way == ["m"]
        assert box.state() is ReplicaState.DRAINING
        lease.release()
        while supervisor.renewal.under_way:
            await trio.sleep(0.01)
        assert supervisor.runtimes["m"].slots == 2


async def test_who_is_replaced_is_known_until_the_end_of_the_block(tmp_path: Path) -> None:
    box = Box(tmp_path, runtime())
    with box.supervisor.renewal.replacing("m"):
        assert box.supervisor._lending.replacing == {"m"}
    assert box.supervisor._lending.replacing == set()
