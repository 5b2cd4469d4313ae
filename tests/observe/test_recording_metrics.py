from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from appliance.observe.maker import Maker
from appliance.observe.recording_metrics import RecordingMetrics


@dataclass
class File:
    waiting: int = 1
    written: int = 2
    dropped: int = 3
    failures: int = 4
    broken: int = 5
    bytes: int = 6
    trouble: str = ""


def shown(registry: CollectorRegistry) -> dict[str, float]:
    return {
        ":".join([sample.name.removeprefix("appliance_recording_"), *sample.labels.values()]): sample.value
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }


def test_a_file_is_told_by_its_name_and_by_whoever_writes_it() -> None:
    registry = CollectorRegistry()
    own = RecordingMetrics(Maker(registry))
    assert shown(registry) == {}
    usage = File()
    own.watch("usage", usage)(0.25)
    assert shown(registry) == {
        "rows_waiting:usage": 1,
        "rows_written_total:usage": 2,
        "rows_dropped_total:usage": 3,
        "failures_total:usage": 4,
        "files_broken_total:usage": 5,
        "file_bytes:usage": 6,
        "up:usage": 1,
        "write_seconds_count:usage": 1,
        "write_seconds_sum:usage": 0.25,
    }
    usage.trouble, usage.waiting = "the disk is full", 9
    assert (shown(registry)["up:usage"], shown(registry)["rows_waiting:usage"]) == (0, 9)
