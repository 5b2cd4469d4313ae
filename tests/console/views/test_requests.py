import msgspec

from appliance.console.figures import NONE
from appliance.console.pulse import Ended
from appliance.console.templating import environment
from appliance.console.views import requests
from appliance.domain.calls import Usage
from tests.fakes.records import RECORD

ROW = {
    "id": "req_1",
    "internal_id": "f" * 32,
    "key": "team",
    "model": "m",
    "operation": "chat",
    "target": "m@2",
    "phase": "streaming",
    "stream": True,
    "peer": "10.0.0.1",
    "seconds": 12.5,
    "first_token": 2.5,
    "tokens": 200,
}
STATE = {"requests": [ROW], "in_flight": 1}


def ended(**facts: object) -> Ended:
    return Ended(1_800_000_000.0, msgspec.structs.replace(RECORD, **facts))


def test_what_is_under_way_says_where_it_is_and_how_quick() -> None:
    (row,) = requests.values(STATE, [])["under_way"]
    assert (row["word"], row["tone"], row["first"], row["tokens"], row["rate"]) == (
        "streaming",
        "good",
        "2.5 s",
        "200",
        "20",
    )
    waits = ROW | {"phase": "queued", "first_token": None, "tokens": 0, "key": "", "target": ""}
    (row,) = requests.values({"requests": [waits], "in_flight": 1}, [])["under_way"]
    assert (row["word"], row["first"], row["tokens"], row["rate"], row["key"]) == ("in line", NONE, NONE, NONE, NONE)


def test_more_requests_than_are_shown_are_counted() -> None:
    page = environment().get_template("parts/requests-now.html")
    assert "12 more are under way" in page.render(requests.values(STATE | {"in_flight": 13}, []))
    assert "more are under way" not in page.render(requests.values(STATE, []))


def test_what_has_ended_says_how() -> None:
    well = ended(ttft_s=0.5, duration_s=2.5, usage=Usage(9, 100), queued_s=0.25)
    gone = ended(outcome="client_gone", status=499, usage=Usage())
    failed = ended(outcome="error", status=503, error_code="queue_full", guardrails="pii:email:flag")
    refused = ended(outcome="error", status=404, error_code="model_not_found")
    rows = requests.values(STATE, [well, gone, failed, refused])["ended"]
    assert [(row["word"], row["tone"], row["why"]) for row in rows] == [
        ("200", "good", ""),
        ("client left", "busy", ""),
        ("503", "bad", "queue_full, pii:email:flag"),
        ("404", "busy", "model_not_found"),
    ]
    assert (rows[0]["time"], rows[0]["tokens"], rows[0]["rate"], rows[0]["queued"]) == (
        "08:00:00",
        "9 / 100",
        "50",
        "250 ms",
    )
    assert (rows[1]["tokens"], rows[1]["rate"], rows[1]["queued"]) == (NONE, NONE, NONE)


def test_rows_are_found_by_any_of_their_words() -> None:
    recent = [ended(key="alice"), ended(key="bob", status=502)]
    assert [row["key"] for row in requests.values(STATE, recent, " ALICE ")["ended"]] == ["alice"]
    assert [row["key"] for row in requests.values(STATE, recent, "502")["ended"]] == ["bob"]
    assert requests.values(STATE, recent, "nothing")["under_way"] == []
    assert len(requests.values(STATE, [ended()] * 500)["ended"]) == requests.MOST


def test_what_failed_is_shown_however_much_has_ended_since() -> None:
    failed = [ended(key=f"k{number}", status=502) for number in range(50)]
    values = requests.values(STATE, [ended()] * 300, failed=failed)
    assert len(values["failed"]) == requests.MOST_FAILED
    assert requests.values(STATE, [], "k7", failed)["failed"][0]["key"] == "k7"


def test_a_row_that_is_looked_for_is_found_among_all_that_are_remembered() -> None:
    recent = [*[ended()] * requests.MOST, ended(key="bob")]
    assert [row["key"] for row in requests.values(STATE, recent, "bob")["ended"]] == ["bob"]


def test_names_of_clients_are_text() -> None:
    evil = {"id": "<i>", "key": "<b>", "model": "<u>", "target": "<s>", "peer": "<q>"}
    values = requests.values(
        {"requests": [ROW | evil], "in_flight": 1}, [ended(request_id="<i>", key="<b>", model="<u>", error_code="<em>")]
    )
    made = environment()
    html = "".join(made.get_template(f"parts/{part}.html").render(values) for part in requests.PARTS)
    assert not [tag for tag in ("<i>", "<b>", "<u>", "<s>", "<q>", "<em>") if tag in html]
