from appliance.config.schema import Runtime
from appliance.fleet.table import FleetTable
from appliance.supervisor.handing import Handed
from appliance.supervisor.replica import Replica
from appliance.supervisor.succession import Succession
from appliance.supervisor.watching import Senses
from tests.fakes.supervised import connects


async def test_each_replica_hears_what_the_old_process_knows() -> None:
    senses = Senses(connects, lambda: 1.0, lambda: 1.8e9, 0.2)
    replicas = {
        name: Replica(Runtime(name=name, engine="command"), name, fleet=FleetTable(), senses=senses)
        for name in ("ready", "loading")
    }
    running = [
        Handed("ready", 7, ready=True, slots=3, last_start=12.5),
        Handed("loading", 8, ready=False, slots=0, last_start=0.0),
    ]
    Succession(-1, running).prove(replicas)
    assert (replicas["ready"].proven, replicas["ready"].last_start) == (3, 12.5)
    assert (replicas["loading"].proven, replicas["loading"].last_start) == (None, None)
