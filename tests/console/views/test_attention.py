from dataclasses import asdict

from appliance.console.templating import environment
from appliance.console.views.attention import attention
from appliance.domain.gpus import Gpu
from appliance.domain.status import ReplicaState
from tests.console.views.test_now import GIB, model, replica, state


def test_where_all_is_well_there_is_nothing() -> None:
    well = state(
        replica("m"), replica("n", ReplicaState.LOADING), replica("o", ReplicaState.STOPPED), models=[model("m")]
    )
    assert attention(well) == []
    html = environment().get_template("parts/now-attention.html").render(attention=[])
    assert "Nothing needs attention" in html
    assert 'data-count="0"' in html


def test_a_replica_that_somebody_has_to_mend_comes_first_with_whom_it_hurts_and_what_can_be_ordered() -> None:
    ill = replica("m", ReplicaState.QUARANTINED, reason="out of memory", advice="Give it less context.")
    again = replica("n", ReplicaState.BACKOFF, reason="exit code 1")
    models = [model("chat", state="quarantined", targets=["m"]), model("m", state="quarantined"), model("fine")]
    rows = attention(state(again, ill, models=models))
    assert [(row["about"], row["word"], row["tone"]) for row in rows] == [
        ("m", "quarantined", "bad"),
        ("n", "backoff", "busy"),
    ]
    assert (rows[0]["text"], rows[0]["advice"], rows[0]["hurts"]) == ("Out of memory.", "Give it less context.", "chat")
    assert (rows[0]["orders"], rows[0]["logs"], rows[0]["since"]) == ([("load", "Load")], "m", "90 s")
    (row,) = attention(state(replica("m", healthy=False)))
    assert (row["word"], row["orders"]) == ("unhealthy", [("restart", "Restart")])


def test_a_model_that_has_no_turn_while_requests_wait_for_it_is_told() -> None:
    turn = model("m", state="stopped", reason="waits for n to load", waiting=2)
    rest = [model("a", state="stopped", waiting=0, reason="x"), model("b", state="stopped", waiting=1)]
    (row,) = attention(state(models=[turn, *rest]))
    assert (row["about"], row["word"], row["tone"]) == ("m", "waits", "busy")
    assert row["text"] == "Waits for n to load. 2 requests wait."


def test_what_others_run_gpus_circuits_and_records_are_looked_at_too() -> None:
    backends = [
        {"name": "down", "engine": "tgi", "healthy": False, "reason": "cannot connect to x"},
        {"name": "denied", "engine": "tgi", "healthy": False, "reason": "it answered 401"},
        {"name": "new", "engine": "tgi", "healthy": None, "reason": ""},
    ]
    gpus = [asdict(Gpu(0, "u", "L40S", GIB, 0, GIB, fault="Xid 79")), asdict(Gpu(1, "v", "L40S", GIB, 0, GIB))]
    circuit = {"target": "down/m", "state": "open", "failures": 5, "reason": "refused", "next_try": 3}
    records = {"trouble": "disk full", "waiting": 3, "dropped": 1, "recording": False}
    models = [model("m", state="unhealthy", targets=["down/m"])]
    rows = attention(state(backends=backends, gpus=gpus, circuits=[circuit], models=models, usage=records))
    assert [row["about"] for row in rows] == ["m", "down", "denied", "GPU 0", "down/m", "The record of usage"]
    assert [bool(row["advice"]) for row in rows[:3]] == [False, True, False]
    assert rows[-1]["text"] == "disk full. 3 wait in memory, 1 are lost."
