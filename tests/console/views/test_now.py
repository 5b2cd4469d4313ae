from dataclasses import asdict
from typing import Any

import msgspec

from appliance.console.figures import NONE
from appliance.console.pulse import Pulse
from appliance.console.templating import environment
from appliance.console.views import now
from appliance.domain.calls import Usage
from appliance.domain.events import Event
from appliance.domain.gpus import Gpu
from appliance.domain.status import ReplicaState, ReplicaStatus
from tests.fakes.records import RECORD

GIB = 2**30


def replica(name: str, state: ReplicaState = ReplicaState.READY, **facts: Any) -> dict[str, Any]:
    row = asdict(ReplicaStatus(name.partition("@")[0], name, "vllm", state, 0.0, **facts))
    return row | {"state": str(state), "seconds": 90.0, "busy": 2}


def model(name: str, **facts: Any) -> dict[str, Any]:
    idle = {"requests_per_second": 0.0, "output_tokens_per_second": 0.0, "first_token_p95": None, "in_flight": 0}
    return {"name": name, "state": "ready", "reason": "", "progress": "", "targets": [name], **idle, **facts}


def state(*replicas: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"replicas": list(replicas), "backends": [], "gpus": [], "models": [], **more}


def test_the_tiles_are_of_the_last_seconds() -> None:
    pulse = Pulse()
    for date in range(20):
        pulse.fresh += [msgspec.structs.replace(RECORD, usage=Usage(1, 50), ttft_s=0.25, status=502)] * 2
        pulse.beat(date, [], 3, 1)
    tiles = {tile["name"]: (tile["figure"], tile["more"]) for tile in now.figures(pulse)}
    assert tiles == {
        "Requests a second": ("2.0", "40 failed in 5 min"),
        "Tokens a second": ("100", ""),
        "First token": ("250 ms", "p95 250 ms"),
        "Under way": ("3", ""),
        "Waiting": ("1", "for a model or a free slot"),
    }


def test_what_failed_is_one_click_away() -> None:
    pulse = Pulse()
    page = environment().get_template("parts/now-figures.html")
    assert "#failed" not in page.render(tiles=now.figures(pulse))
    pulse.fresh.append(msgspec.structs.replace(RECORD, status=502))
    pulse.beat(0, [], 0, 0)
    assert 'href="/console/requests#failed">1 failed in 5 min<' in page.render(tiles=now.figures(pulse))


def test_before_anything_has_happened_there_is_nothing_wrong() -> None:
    assert [tile["figure"] for tile in now.figures(Pulse())] == ["0", "0", NONE, "0", "0"]


def test_a_model_has_its_state_its_targets_and_a_reason() -> None:
    loading = model("b", state="loading", progress="weights 40 %", targets=[])
    rows = now.models(state(models=[loading, model("a", in_flight=2, targets=["a", "box/x"])]))
    assert [(row["name"], row["tone"], row["targets"], row["busy"], row["words"]) for row in rows] == [
        ("b", "busy", NONE, 0, "weights 40 %"),
        ("a", "good", "a, box/x", 2, ""),
    ]


def test_the_worst_is_the_first() -> None:
    words = ("ready", "stopped", "quarantined", "loading")
    assert [row["name"] for row in now.models(state(models=[model(word, state=word) for word in words]))] == [
        "quarantined",
        "loading",
        "ready",
        "stopped",
    ]
    rows = now.replicas(state(replica("a"), replica("b", healthy=False), replica("c", ReplicaState.BACKOFF)))
    assert [row["replica"] for row in rows] == ["b", "c", "a"]


def test_a_replica_says_what_is_wrong_and_what_to_do() -> None:
    ill = replica("m", ReplicaState.QUARANTINED, reason="out of memory.", advice="Give it less context.")
    (row,) = now.replicas(state(ill))
    assert (row["state"], row["tone"], row["words"], row["advice"]) == (
        "quarantined",
        "bad",
        "out of memory.",
        "Give it less context.",
    )
    assert row["orders"] == [("load", "Load")]
    (row,) = now.replicas(state(replica("m", healthy=False, slots=4)))
    assert (row["state"], row["tone"], row["busy"]) == ("unhealthy", "bad", "2 of 4")
    assert [order for order, _ in row["orders"]] == ["restart", "unload"]
    assert now.replicas(state(replica("m", ReplicaState.STOPPING)))[0]["orders"] == []


def test_a_line_is_told_once_for_all_replicas_of_a_runtime() -> None:
    rows = now.replicas(state(replica("m@1"), replica("m@2"), queues=[{"runtime": "m", "waiting": 7}]))
    assert [row["waiting"] for row in rows] == [7, ""]


def test_the_memory_of_a_gpu_is_ours_others_and_free() -> None:
    gpu = Gpu(0, "u", "L40S", 48 * GIB, 40 * GIB, 8 * GIB, utilization=71.4, temperature=60, power=250)
    rows = [
        replica("a", gpus=(0,), memory=24 * GIB),
        replica("b", gpus=(0,), memory=8 * GIB),
        replica("gone", ReplicaState.STOPPED, gpus=(0,), memory=8 * GIB),
        replica("elsewhere", gpus=(1,), memory=8 * GIB),
    ]
    (card,) = now.gpus(state(*rows, gpus=[asdict(gpu)]))
    assert [(piece["name"], piece["at"], piece["width"]) for piece in card["pieces"]] == [
        ("a", "0.00", "50.00"),
        ("b", "50.00", "16.67"),
        ("others", "66.67", "16.67"),
    ]
    assert card["facts"] == "71 % busy · 60 °C · 250 W"
    assert card["fault"] == ""
    silent = asdict(Gpu(1, "u", "L40S", 0, 0, 0, known=False))
    assert now.gpus(state(gpus=[silent]))[0]["fault"] == "It does not answer."


def test_what_was_promised_never_leaves_the_bar() -> None:
    gpu = asdict(Gpu(0, "u", "x", 10 * GIB, 10 * GIB, 0))
    (card,) = now.gpus(
        state(replica("a", gpus=(0,), memory=9 * GIB), replica("b", gpus=(0,), memory=9 * GIB), gpus=[gpu])
    )
    assert sum(float(piece["width"]) for piece in card["pieces"]) == 100


def test_a_backend_that_was_not_asked_yet_is_unknown() -> None:
    rows = [
        {"name": name, "engine": "tgi", "healthy": healthy, "reason": ""}
        for name, healthy in (("a", None), ("b", True), ("c", False))
    ]
    assert [row["state"] for row in now.backends(state(backends=rows))] == ["unknown", "ready", "unhealthy"]


def test_an_event_is_told_in_its_words() -> None:
    event = Event(1, 1_800_000_000.5, "replica.crashed", "m", "It ended: exit code 1.")
    (row,) = now.values(state(time="2027-01-15T08:05:10.000+00:00"), Pulse(), [event])["events"]
    assert row == {
        "time": "08:00:00",
        "whole": "2027-01-15 08:00:00 UTC",
        "ago": "5 min ago",
        "kind": "replica.crashed",
        "tone": "bad",
        "subject": "m",
        "words": "It ended: exit code 1.",
    }


def test_an_event_of_another_day_has_its_date() -> None:
    event = Event(1, 1_800_000_000.5, "replica.crashed", "m", "It ended: exit code 1.")
    (row,) = now.values(state(time="2027-01-16T08:00:10.000+00:00"), Pulse(), [event])["events"]
    assert (row["time"], row["ago"]) == ("01-15 08:00:00", "1 d 0 h ago")


def test_what_an_engine_says_is_text_and_nothing_else() -> None:
    evil = replica("<i>", ReplicaState.BACKOFF, reason="<script>alert(1)</script>", advice="<b>", percent=40.0)
    gpu = asdict(Gpu(0, "u", "<u>", GIB, GIB, 0, fault="<s>"))
    backend = {"name": "<q>", "engine": "tgi", "healthy": False, "reason": "<p>"}
    ill = model("<em>", state="backoff", reason="<script>", targets=["<b>"])
    values = now.values(state(evil, gpus=[gpu], backends=[backend], models=[ill]), Pulse())
    made = environment()
    html = "".join(made.get_template(f"parts/{part}.html").render(values) for part in now.PARTS)
    for tag in ("<script", "<i>", "<b>", "<u>", "<s>", "<q>", "<em>"):
        assert tag not in html
    assert "&lt;script&gt;alert(1)" in html
