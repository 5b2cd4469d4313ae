from dataclasses import asdict
from typing import Any

from appliance.console.views import health
from appliance.diagnosis.checks import Finding
from appliance.domain.gpus import Gpu
from appliance.domain.orders import Change, Reloaded
from tests.console.views.test_now import model, replica, state

WELL = Reloaded(ok=True)
GIB = 2.0**30


def checks(
    *, disks: Any = None, file: Reloaded | None = WELL, dropped: int = 0, **facts: Any
) -> dict[str, tuple[str, str]]:
    seen = health.values(state(**({"usage": {}} | facts)), disks or {}, file, dropped)
    assert seen["wrong"] == sum(check["grade"] != "ok" for check in seen["checks"])
    return {check["about"]: (check["grade"], f"{check['text']}|{check['fix']}") for check in seen["checks"]}


def test_where_all_is_well_all_is_well() -> None:
    space = {"state": ("/var/lib", (50 * GIB, 100 * GIB))}
    seen = checks(disks=space, models=[model("m")], gpus=[asdict(Gpu(0, "u", "L40S", 1, 0, 1))])
    assert {grade for grade, _ in seen.values()} == {"ok"}
    assert set(seen) == {"Model m", "Circuits", "GPU 0", "Disk for state", "Usage", "Configuration"}


def test_a_model_says_what_to_do() -> None:
    ill = model("m", state="quarantined", reason="no such file")
    rows = [replica("m", advice="Fetch it.")]
    found = health.values(state(*rows, models=[ill, model("s", state="stopped")], usage={}), {}, None, 0)["checks"]
    assert [(row["about"], row["grade"], row["text"], row["fix"]) for row in found[:1]] == [
        ("Model m", "error", "quarantined: no such file", "Fetch it.")
    ]
    assert [row["grade"] for row in found if row["about"] == "Model s"] == ["ok"]


def test_circuits_and_suspects_are_told() -> None:
    circuit = {"target": "box/x", "state": "open", "reason": "no connection", "failures": 5, "next_try": 2.0}
    seen = checks(
        circuits=[circuit, circuit | {"target": "y", "state": "half_open"}], suspects={"refused": 1, "suspected": 0}
    )
    assert seen["Target box/x"] == ("error", "5 failures in a row: no connection; it is tried again in 2.0 s|")
    assert seen["Target y"][0] == seen["Requests"][0] == "warning"


def test_hardware_and_records_are_told() -> None:
    gpus = [
        asdict(Gpu(0, "u", "x", 1, 0, 1, fault="it fell off the bus")),
        asdict(Gpu(1, "u", "x", 1, 0, 1, known=False)),
    ]
    disks = {"state": ("/s", (GIB, 100 * GIB)), "models": ("/m", None)}
    seen = checks(gpus=gpus, disks=disks, dropped=7, usage={"trouble": "disk full"})
    assert {about: grade for about, (grade, _) in seen.items()} == {
        "GPU 0": "error",
        "GPU 1": "error",
        "Disk for state": "warning",
        "Disk for models": "error",
        "Usage": "error",
        "Log": "warning",
        "Circuits": "ok",
        "Configuration": "ok",
    }


def test_the_file_is_broken_differs_or_is_not_there() -> None:
    assert checks(file=Reloaded(ok=False, problems=("a.toml:3:1  no",)))["Configuration"][0] == "error"
    grade, text = checks(file=Reloaded(ok=True, runtimes=(Change("m", "restart"),)))["Configuration"]
    assert (grade, "runtime m: restart" in text) == ("warning", True)
    assert "Configuration" not in checks(file=None)


def test_what_doctor_found_stands_apart_worst_first_and_with_its_fix() -> None:
    found = [Finding("host.glibc", "ok", "glibc 2.36"), Finding("config.valid", "error", "line 3", "appliance check")]
    seen = health.values(state(usage={}), {}, WELL, 0, health.Examined(found, 12.0))["doctor"]
    assert [(row["about"], row["tone"], row["fix"]) for row in seen["checks"]] == [
        ("config.valid", "bad", "appliance check"),
        ("host.glibc", "good", ""),
    ]
    assert (seen["wrong"], seen["ago"], seen["trouble"]) == (1, "now", "")


def test_before_the_first_look_and_without_anybody_who_looks() -> None:
    assert health.values(state(usage={}), {}, WELL, 0, health.Examined())["doctor"]["ago"] is None
    assert health.values(state(usage={}), {}, WELL, 0)["doctor"] is None
