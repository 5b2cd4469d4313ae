from dataclasses import replace
from itertools import pairwise
from typing import Any

from appliance.domain.gpus import Gpu
from appliance.domain.status import BackendStatus, ReplicaState, ReplicaStatus
from appliance.domain.targets import Address, Endpoint
from appliance.events.witnesses import Fleet, Gpus, key_changes

S = ReplicaState
ROW = ReplicaStatus("m", "m@1", "vllm", S.STOPPED, 0.0)
BOX = BackendStatus("box", "tgi", Endpoint(Address("http", "box", 1)))
GPU = Gpu(1, "GPU-x", "L40S", 100, 1, 99)


class Heard:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.facts: list[dict[str, Any]] = []

    def __call__(self, kind: str, subject: str, words: str, **facts: Any) -> None:
        self.told.append((kind, subject, words))
        self.facts.append(facts)


def test_states_and_crashes_are_told_with_their_reason() -> None:
    heard = Heard()
    fleet = Fleet(heard)
    rows = [
        ROW,
        replace(ROW, state=S.STARTING, pid=7),
        replace(ROW, state=S.STARTING, pid=7, progress="half"),
        replace(ROW, state=S.READY, pid=7),
        replace(ROW, state=S.BACKOFF, restarts=1, reason="out of memory", advice="Set memory.", cause="oom"),
    ]
    fleet.replica_changed(None, rows[0])
    for before, after in pairwise(rows):
        fleet.replica_changed(before, after)
    assert heard.told == [
        ("replica.state", "m@1", "stopped \u2192 starting."),
        ("replica.state", "m@1", "starting \u2192 ready."),
        ("replica.crashed", "m@1", "out of memory. Set memory."),
        ("replica.state", "m@1", "ready \u2192 backoff: out of memory. Set memory."),
    ]
    assert heard.facts[0] == {"runtime": "m", "pid": 7, "state": "starting", "was": "stopped"}
    assert heard.facts[2] == {"runtime": "m", "pid": None, "cause": "oom", "restarts": 1}


def test_backends_are_told_when_they_change_and_not_at_every_probe() -> None:
    heard = Heard()
    fleet = Fleet(heard)
    for healthy in (None, True, True, False, False, True):
        fleet.backend_seen(replace(BOX, healthy=healthy, reason="" if healthy else "refused"))
    assert [kind for kind, _, _ in heard.told] == ["backend.up", "backend.down", "backend.up"]
    assert heard.told[1][2] == "box is left out. refused."


def test_what_is_dropped_is_told_as_what_it_was() -> None:
    heard = Heard()
    fleet = Fleet(heard)
    fleet.replica_changed(None, ROW)
    fleet.dropped("m@1")
    fleet.dropped("box")
    assert [(kind, subject) for kind, subject, _ in heard.told] == [
        ("replica.removed", "m@1"),
        ("backend.removed", "box"),
    ]


def test_faults_of_gpus_are_told_once() -> None:
    heard = Heard()
    gpus = Gpus(heard)
    for fault in ("", "Xid 79", "Xid 79", ""):
        gpus.seen([GPU, replace(GPU, index=2, fault=fault)])
    assert heard.told == [
        ("gpu.fault", "GPU 2", "Xid 79."),
        ("gpu.recovered", "GPU 2", "It may be used again."),
    ]


def test_changes_of_stored_keys() -> None:
    before: dict[str, tuple[object, bool]] = {"a": ("1", False), "b": ("1", False), "c": ("1", False)}
    after: dict[str, tuple[object, bool]] = {"a": ("2", False), "b": ("2", True), "d": ("1", False)}
    assert sorted((kind, name) for kind, name, _ in key_changes(before, after)) == [
        ("key.changed", "a"),
        ("key.created", "d"),
        ("key.removed", "c"),
        ("key.revoked", "b"),
    ]
    assert list(key_changes(after, after)) == []
