import pytest
from prometheus_client import CollectorRegistry

from appliance.domain.status import Measure
from appliance.observe.engine_metrics import EngineMetrics
from appliance.observe.maker import Maker

M = Measure
WHO = {"runtime": "r", "replica": "r@1"}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def engines(registry: CollectorRegistry) -> EngineMetrics:
    return EngineMetrics(Maker(registry))


def shown(registry: CollectorRegistry) -> dict[str, float]:
    return {
        sample.name.removeprefix("appliance_engine_")
        + "".join(sorted(set(sample.labels.values()) - {"r", "r@1"})): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def test_every_measure_has_its_place(registry: CollectorRegistry, engines: EngineMetrics) -> None:
    engines.told("r", "r@1", {measure: float(number) for number, measure in enumerate(M)}, 0.25)
    seen = shown(registry)
    assert len(seen) == len(M) + 2
    assert sorted(seen.values()) == sorted([*map(float, range(len(M))), 1.0, 0.25])
    assert (seen["requests_running"], seen["stage_seconds_totalprefill"]) == (0, 12)


def test_what_was_not_told_is_not_there(registry: CollectorRegistry, engines: EngineMetrics) -> None:
    engines.told("r", "r@1", {M.RUNNING: 0.0}, 0.1)
    assert shown(registry) == {"up": 1, "scrape_seconds": 0.1, "requests_running": 0}


def test_of_one_that_does_not_answer_only_what_it_had_counted_stays(
    registry: CollectorRegistry, engines: EngineMetrics
) -> None:
    engines.told("r", "r@1", {M.RUNNING: 3.0, M.GENERATED: 9.0}, 0.1)
    engines.told("r", "r@1", None, 10.0)
    assert shown(registry) == {"up": 0, "scrape_seconds": 10.0, "generation_tokens_total": 9}


def test_one_that_has_ended_leaves_nothing_and_others_are_left_alone(
    registry: CollectorRegistry, engines: EngineMetrics
) -> None:
    for replica in ("r@1", "r@2"):
        engines.told("r", replica, dict.fromkeys(M, 1.0), 0.1)
    engines.gone("r@1")
    left = {sample.labels["replica"] for family in registry.collect() for sample in family.samples}
    assert left == {"r@2"}
