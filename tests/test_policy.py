import logging

import pytest

from appliance import policy
from appliance.breakers.verdict import Verdict
from appliance.config.schema import Backend, Config, Key, Runtime, Server
from appliance.config.units import Seconds
from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.domain.targets import Target
from appliance.fleet.table import FleetTable
from appliance.observe.metrics import Metrics
from tests.fakes.accounts import text_of
from tests.fakes.path import Path

HASH = "sha256:" + "0" * 64
CONFIG = Config(
    server=Server(queue=7, queue_wait=Seconds(9), circuit_failures=2, queue_keepalive=True),
    keys=(Key(name="plain", hash=HASH), Key(name="heavy", hash=HASH, weight=3, priority=-1)),
    runtimes=(Runtime(name="m", engine="llama.cpp", model="/m"),),
    backends=(Backend(name="box", engine="vllm", url="http://box"),),
)
BOX = Target("box/x", "backend", "box", "vllm", "x")
READY = ReplicaStatus("m", "m", "llama.cpp", ReplicaState.READY, since=0.0, slots=4)


def test_settings_reach_what_they_are_about_now_and_later(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    fleet, metrics = FleetTable(), Metrics()
    outcomes = policy.outcomes_of(CONFIG, fleet, metrics, lambda: 0.0)
    fleet.set_replica(READY)
    line = outcomes.queues._lines["m"]
    assert (line.size, line.capacity, outcomes.queues.early, outcomes.trials.wait) == (7, 4, True, 9)
    assert {name: (share.weight, share.priority) for name, share in outcomes.queues._rules.shares.items()} == {
        "heavy": (3, -1)
    }
    for _ in range(2):
        outcomes.panel.ended(BOX, Verdict.BAD, 0, 0, "no connection")
    assert 'appliance_circuit_state{target="box/x"} 2.0' in text_of(metrics)
    assert "the circuit breaker of box/x is open" in caplog.text
    policy.change(outcomes, Config(server=Server(queue=5, circuit_failures=0)))
    assert (line.size, outcomes.queues.early, outcomes.trials.wait) == (5, False, 120)
    assert outcomes.panel.empty
    assert "the circuit breaker of box/x is closed" in caplog.text
    fleet.drop_replica("m")
    assert outcomes.queues.report() == []


def test_the_keys_shares_and_parameters_come_together() -> None:
    path = Path()
    outcomes = policy.outcomes_of(Config(), FleetTable(), Metrics(), lambda: 0.0)
    before = path.gateway.parameters
    policy.put_into_effect(outcomes, path.gateway, CONFIG)
    assert outcomes.queues._rules.shares.keys() == {"heavy"}
    assert path.gateway.parameters is not before
