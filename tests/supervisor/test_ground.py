from pathlib import Path

from appliance.config.schema import Runtime
from appliance.domain.status import ReplicaState
from appliance.fleet.table import FleetTable
from appliance.supervisor.ground import Ground
from appliance.supervisor.replica import Replica
from appliance.supervisor.watching import Senses
from tests.supervisor.test_supervisor import connects


async def test_only_who_is_in_quarantine_and_stands_on_something_else_now(tmp_path: Path) -> None:
    program = tmp_path / "engine"
    senses = Senses(connects, lambda: 1.0, lambda: 1.8e9, 0.2)
    program.write_text("#!/bin/sh\n")
    replica = Replica(
        Runtime(name="m", engine="command", command=(str(program),)), "m", fleet=FleetTable(), senses=senses
    )
    ground = Ground()
    assert ground.changed([replica]) == []
    replica.write(ReplicaState.QUARANTINED)
    assert ground.changed([replica]) == []
    assert ground.changed([replica]) == []
    program.write_text("#!/bin/sh\nexit 0\n")
    assert ground.changed([replica]) == [replica]
    replica.write(ReplicaState.STOPPED)
    assert ground.changed([replica]) == []
    replica.write(ReplicaState.QUARANTINED)
    assert ground.changed([replica]) == []  # looked at anew
