from dataclasses import replace
from typing import Any

from appliance.config.schema import Runtime
from appliance.config.units import Seconds, Size
from appliance.domain.status import ProbeAnswer, ReplicaState
from appliance.domain.targets import Endpoint
from appliance.fleet.table import FleetTable
from appliance.supervisor.queues import Queue
from appliance.supervisor.replica import Replica
from appliance.supervisor.views import view_of
from appliance.supervisor.watching import Senses


async def probe(_: Endpoint, __: str) -> ProbeAnswer:
    return ProbeAnswer(ok=True)


def replica(**settings: Any) -> Replica:
    runtime = Runtime(**({"name": "m", "engine": "command", "command": ("x",)} | settings))
    senses = Senses(probe, lambda: 0.0, lambda: 0.0, 1.0)
    return Replica(runtime, "m", fleet=FleetTable(), senses=senses)


def test_the_settings_that_matter_to_the_plan() -> None:
    one = replica(
        gpus=(1,), memory=Size(7), exclusive="big", priority=3, pinned=True, preload=True, idle_stop=Seconds(60)
    )
    view = view_of(one, Queue(waiting=2, since=5.0), 9.0)
    assert (view.choices, view.need, view.exclusive, view.priority) == ((1,), 7, "big", 3)
    assert (view.pinned, view.preload, view.idle_stop, view.vllm, view.sleep) == (True, True, 60, False, False)
    assert (view.asked, view.asked_since) == (2, 5.0)
    assert view_of(one, Queue(), 9.0).asked == 0


def test_what_was_told_to_start_is_starting() -> None:
    one = replica()
    assert view_of(one, Queue(), 9.0).state is ReplicaState.STOPPED
    one.go(None)
    assert view_of(one, Queue(), 9.0).state is ReplicaState.STARTING


def test_what_was_told_to_start_counts_on_its_gpus_before_it_has_begun() -> None:
    one = replica()
    one.go((1,), 24)
    assert view_of(one, Queue(), 9.0).gpus == (1,)


def test_vllm_can_sleep_when_it_can_be_asked_to() -> None:
    assert not view_of(replica(engine="vllm", model="m", sleep=1), Queue(), 9.0).sleep


def test_a_sleeper_needs_what_it_has_given_back() -> None:
    one = replica(memory=Size(100))
    assert view_of(one, Queue(), 9.0, 20).need == 100
    one.status = replace(one.status, state=ReplicaState.SLEEPING)
    assert view_of(one, Queue(), 9.0, 20).need == 80
    assert view_of(one, Queue(), 9.0, 120).need == 1


def test_what_an_operator_has_unloaded_is_not_preloaded() -> None:
    one = replica(preload=True)
    assert view_of(one, Queue(), 9.0).preload
    one.unwant()
    assert not view_of(one, Queue(), 9.0).preload
    one.want()
    assert view_of(one, Queue(), 9.0).preload
