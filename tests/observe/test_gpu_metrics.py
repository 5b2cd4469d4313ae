from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from appliance.domain.gpus import Gpu, Vitals
from appliance.observe.gpu_metrics import GpuMetrics
from appliance.observe.maker import Maker

PLAIN = Gpu(1, "GPU-1", "H100", 100, 60, 40)
WHOLE = replace(
    PLAIN,
    utilization=50.0,
    temperature=66.0,
    power=350.0,
    vitals=Vitals(
        700, 5000.5, {"sm": 2e9}, {"hw_thermal": 3.5}, {"corrected": 2}, {31: 4},
        25, 40, 78, 5, {"sent": 5e6}, {"now": 8, "most": 16}, {"now": 4}, 3,
    ),
    vendor="nvidia",
    driver="570",
    cuda="12.8",
)  # fmt: skip


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> GpuMetrics:
    return GpuMetrics(Maker(registry))


def shown(registry: CollectorRegistry) -> dict[str, float]:
    return {
        ":".join([sample.name.removeprefix("appliance_gpu_"), *sorted(sample.labels.values())]): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def test_all_that_is_told(registry: CollectorRegistry, metrics: GpuMetrics) -> None:
    metrics.seen([WHOLE], 2)
    assert shown(registry) == {
        "info:1:12.8:570:GPU-1:H100:nvidia": 1,
        "up:1": 1,
        "memory_total_bytes:1": 100,
        "memory_used_bytes:1": 60,
        "utilization_ratio:1": 0.5,
        "temperature_celsius:1": 66,
        "power_watts:1": 350,
        "power_limit_watts:1": 700,
        "clock_hertz:1:sm": 2e9,
        "energy_joules_total:1": 5000.5,
        "throttle_seconds_total:1:hw_thermal": 3.5,
        "ecc_errors_total:1:corrected": 2,
        "xid_errors_total:1:31": 4,
        "driver_timeouts_total": 2,
        "fan_ratio:1": 0.25,
        "memory_utilization_ratio:1": 0.4,
        "memory_temperature_celsius:1": 78,
        "memory_reserved_bytes:1": 5,
        "pcie_bytes_per_second:1:sent": 5e6,
        "pcie_link_width:1:now": 8,
        "pcie_link_width:1:most": 16,
        "pcie_link_generation:1:now": 4,
        "pcie_replays_total:1": 3,
    }


def test_what_is_not_told_is_not_there(registry: CollectorRegistry, metrics: GpuMetrics) -> None:
    metrics.seen([PLAIN], 0)
    assert set(shown(registry)) == {
        "info::::1:GPU-1:H100", "up:1", "memory_total_bytes:1", "memory_used_bytes:1", "driver_timeouts_total",
    }  # fmt: skip


@pytest.mark.parametrize("bad", [replace(PLAIN, fault="smoke"), replace(PLAIN, known=False)])
def test_one_with_a_fault_or_without_an_answer_is_not_up(
    registry: CollectorRegistry, metrics: GpuMetrics, bad: Gpu
) -> None:
    metrics.seen([bad], 0)
    assert shown(registry)["up:1"] == 0


def test_no_driver_makes_series_without_end(registry: CollectorRegistry, metrics: GpuMetrics) -> None:
    wild = {f"word{number}": 1.0 for number in range(1000)}
    vitals = Vitals(
        clocks=wild, throttled=wild, ecc=dict.fromkeys(wild, 1), xids=dict.fromkeys(range(1000), 1),
        traffic=wild, lanes=dict.fromkeys(wild, 1), generation=dict.fromkeys(wild, 1),
    )  # fmt: skip
    metrics.seen([replace(PLAIN, vitals=vitals)], 0)
    assert len(shown(registry)) < 100


def test_a_gpu_is_one_thing_at_a_time_and_stays_it_when_its_driver_cannot_reach_it(
    registry: CollectorRegistry, metrics: GpuMetrics
) -> None:
    lost = Gpu(1, "", "", 0, 0, 0, fault="the driver cannot reach it: lost")
    for gpu, uuid in ((lost, ""), (PLAIN, "GPU-1"), (lost, "GPU-1")):
        metrics.seen([gpu], 0)
        samples = [sample for family in registry.collect() for sample in family.samples]
        assert [one.labels["uuid"] for one in samples if one.name == "appliance_gpu_info"] == [uuid]


LOST = Gpu(1, "", "", 0, 0, 0, fault="the driver cannot reach it: lost")
COUNTED = {
    "energy_joules_total:1": 5000.5,
    "throttle_seconds_total:1:hw_thermal": 3.5,
    "ecc_errors_total:1:corrected": 2,
    "xid_errors_total:1:31": 4,
    "pcie_replays_total:1": 3,
}


@pytest.mark.parametrize("now", [[replace(WHOLE, known=False)], [LOST], []], ids=["silent", "lost", "vanished"])
def test_of_one_that_cannot_be_read_any_more_only_what_it_had_counted_stays(
    registry: CollectorRegistry, metrics: GpuMetrics, now: list[Gpu]
) -> None:
    metrics.seen([WHOLE], 0)
    metrics.seen(now, 1)
    gone = {"info:1:12.8:570:GPU-1:H100:nvidia": 1, "up:1": 0, "driver_timeouts_total": 1, **COUNTED}
    assert shown(registry) == gone
    metrics.seen([WHOLE], 1)
    assert (shown(registry)["up:1"], shown(registry)["temperature_celsius:1"]) == (1, 66)


def test_a_figure_that_is_not_told_any_more_is_gone_and_those_of_others_are_not(
    registry: CollectorRegistry, metrics: GpuMetrics
) -> None:
    other = replace(WHOLE, index=2, uuid="GPU-2")
    metrics.seen([WHOLE, other], 0)
    metrics.seen([replace(WHOLE, temperature=None, vitals=replace(WHOLE.vitals, clocks={})), other], 0)
    left = shown(registry)
    assert "temperature_celsius:1" not in left
    assert "clock_hertz:1:sm" not in left
    assert (left["power_watts:1"], left["temperature_celsius:2"], left["clock_hertz:2:sm"]) == (350, 66, 2e9)
