import json
from typing import Any, cast

import msgspec

from appliance.domain.calls import Operation
from appliance.domain.secret import Secret
from appliance.domain.status import BackendStatus, ReplicaState, ReplicaStatus
from appliance.domain.targets import Address, Endpoint
from appliance.errors import GatewayError
from tests.fakes.lookout import lookout
from tests.fakes.path import Path

ENDPOINT = Endpoint(Address("unix", "/hidden"), Secret("sk-canary-1f2e"))


class Stream:
    """An answer under way."""

    tokens = 40

    def interrupt(self, error: GatewayError) -> None:
        raise error


def test_it_shows_everything_and_no_secret() -> None:
    path = Path()
    path.fleet.set_replica(ReplicaStatus("m", "m", "llama.cpp", ReplicaState.READY, 90.0, endpoint=ENDPOINT))
    path.fleet.set_backend(BackendStatus("box", "vllm", ENDPOINT, healthy=False, reason="gone"))
    shown = lookout(path).take()
    text = msgspec.json.encode(shown).decode()
    assert "canary" not in text
    assert "/hidden" not in text
    told = json.loads(text)
    assert told["time"] == "2027-01-15T08:00:00.250+00:00"
    assert [(row["replica"], row["state"], row["seconds"], row["busy"]) for row in told["replicas"]] == [
        ("m", "ready", 10.0, 2)
    ]
    assert told["backends"] == [{"name": "box", "engine": "vllm", "healthy": False, "reason": "gone"}]
    assert {row["name"]: row["state"] for row in told["models"]} == {
        "both": "ready",
        "remote": "unhealthy",
        "m": "ready",
    }
    assert told["gpus"][0]["name"] == "L40S"
    assert (told["usage"], told["queues"], told["circuits"]) == ({"recording": True}, [], [])


def test_requests_under_way_are_shown_with_how_far_they_are() -> None:
    path = Path(clock=lambda: 97.5)
    exchange = path.accounts.open(Operation.CHAT, "10.0.0.7", "mine")
    exchange.key, exchange.target, exchange.phase = "alice", "box/x", "streaming"
    exchange.model_known("m")
    exchange.answer = Stream()
    snapshot = lookout(path)
    (shown,) = msgspec.json.decode(msgspec.json.encode(snapshot.take()))["requests"]
    assert (shown["id"], shown["key"], shown["model"], shown["phase"]) == ("mine", "alice", "m", "streaming")
    assert (shown["seconds"], shown["tokens"], shown["peer"]) == (2.5, 40, "10.0.0.7")
    snapshot.sample()
    exchange.done(200)
    assert snapshot.take()["requests"] == []
    assert snapshot.take()["in_flight"] == 0


def test_who_waits_for_a_model_or_a_slot_is_told_apart() -> None:
    path = Path(clock=lambda: 1.0)
    for number, phase in enumerate(("queued", "loading", "streaming", "first_byte")):
        exchange = path.accounts.open(Operation.CHAT, "", None)
        path.accounts.under_way[str(number)] = exchange
        exchange.phase = cast("Any", phase)
        exchange.model_known("both")
    path.accounts.under_way.pop("0" * 32)
    (row,) = [row for row in cast("Any", lookout(path).take()["models"]) if row["name"] == "both"]
    assert (row["in_flight"], row["waiting"]) == (4, 2)


def test_no_more_requests_are_shown_than_a_reader_can_take() -> None:
    ids = iter(range(10**6))
    path = Path(clock=lambda: 1.0)
    for _ in range(300):
        path.accounts.under_way[str(next(ids))] = path.accounts.open(Operation.CHAT, "", None)
    shown = lookout(path).take()
    assert isinstance(shown["requests"], list)
    assert len(shown["requests"]) == 200
    assert shown["in_flight"] == 301
