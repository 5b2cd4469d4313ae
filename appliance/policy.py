"""From a configuration to what protects targets: lines for slots, breakers, suspects of crashes, refused parameters."""

import logging
from collections.abc import Callable

from appliance.breakers.breaker import State
from appliance.breakers.panel import Panel
from appliance.config.schema import Config
from appliance.fleet.table import FleetTable
from appliance.gateway.outcomes import Outcomes
from appliance.gateway.pipeline import Gateway
from appliance.gateway.queues import QueueRules, Queues, Share
from appliance.gateway.trials import Trials
from appliance.observe.metrics import Metrics
from appliance.parameters.check import ParameterRules

_LOG = logging.getLogger("appliance.breakers")


def outcomes_of(
    config: Config,
    fleet: FleetTable,
    metrics: Metrics,
    clock: Callable[[], float],
    changed: Callable[[str, State], None] = lambda _target, _state: None,
) -> Outcomes:
    """All of it, told of every change of a replica.

    `clock` gives monotonic seconds; `changed` is told whenever the breaker of a target is in another state.
    """

    def told(target: str, state: State) -> None:
        metrics.circuit_changed(target, state.value)
        changed(target, state)
        if state is not State.HALF_OPEN:
            level = logging.WARNING if state is State.OPEN else logging.INFO
            _LOG.log(level, "the circuit breaker of %s is %s", target, state.name.lower())

    queues = Queues(_rules(config), clock, metrics)
    trials = Trials(clock, config.server.queue_wait, queues.step_aside)
    panel = Panel(config.server.circuit_failures, told)
    for watcher in (queues, trials, panel):
        fleet.watch_replicas(watcher.replica_changed)
    for watch in (queues.replica_dropped, panel.replica_dropped):
        fleet.watch_drops(watch)
    return Outcomes(panel, queues, trials)


def parameters_of(config: Config) -> ParameterRules:
    """What is judged in requests, for all and for each key."""
    return ParameterRules(config.parameters, config.keys)


def put_into_effect(outcomes: Outcomes, gateway: Gateway, config: Config) -> None:
    """All of it at once; the stored keys are among those of `config`."""
    change(outcomes, config)
    gateway.parameters = parameters_of(config)


def change(outcomes: Outcomes, config: Config) -> None:
    """These are the settings from now on; what waits goes on waiting."""
    outcomes.queues.change(_rules(config))
    outcomes.trials.wait = config.server.queue_wait
    owners = {row.name for row in config.runtimes} | {row.name for row in config.backends}
    owners |= {row.name for row in config.providers}
    outcomes.panel.change(config.server.circuit_failures, owners)


def _rules(config: Config) -> QueueRules:
    server = config.server
    shares = {key.name: Share(key.weight, key.priority) for key in config.keys if (key.weight, key.priority) != (1, 0)}
    return QueueRules(server.queue, server.queue_wait, shares, server.queue_keepalive)
