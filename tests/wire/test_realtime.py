import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.domain.calls import Usage
from appliance.errors import GatewayError
from appliance.wire.realtime import asked_for, closing, error_event, key_of, path_for, renamed, usage_of, went_well


def test_the_model_is_taken_out_of_the_query_and_the_rest_is_kept() -> None:
    model, more = asked_for("intent=transcription&model=a%2Fb%20c&x=&y=1")
    assert (model, more) == ("a/b c", [("intent", "transcription"), ("x", ""), ("y", "1")])
    assert path_for("/v1/realtime", "d&e", more) == "/v1/realtime?model=d%26e&intent=transcription&x=&y=1"
    assert asked_for("") == ("", [])


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_any_model_survives_the_query(model: str) -> None:
    path = path_for("/v1/realtime", model, [])
    assert asked_for(path.partition("?")[2])[0] == model
    assert path.isascii()


def test_a_browser_hides_its_key_among_the_protocols() -> None:
    assert key_of(["realtime", "openai-insecure-api-key.sk-1", "openai-beta.realtime-v1"]) == "sk-1"
    assert key_of(["realtime"]) is None


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"type": "session.update", "model": "p"}, {"type": "session.update", "model": "e"}),
        (
            {"type": "session.update", "session": {"model": "p", "voice": "x"}},
            {"type": "session.update", "session": {"model": "e", "voice": "x"}},
        ),
        ({"type": "session.update", "session": {"model": "other"}}, None),
        ({"type": "response.create", "note": "session.update", "model": "p"}, None),
        ({"type": "session.update", "session": None}, None),
    ],
)
def test_the_public_name_becomes_the_engines_own(message: dict[str, object], expected: object) -> None:
    assert json.loads(renamed(json.dumps(message), "p", "e")) == (expected or message)


@pytest.mark.parametrize("message", ["", "{", '"session.update"', '["session.update"]', '{"type":"x"}'])
def test_what_is_no_such_event_passes_as_it_is(message: str) -> None:
    assert renamed(message, "p", "e") == message


def test_the_same_name_costs_nothing() -> None:
    message = '{ "type": "session.update" }'
    assert renamed(message, "p", "p") is message


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"type": "response.done", "response": {"usage": {"input_tokens": 3, "output_tokens": 4}}}, Usage(3, 4)),
        ({"type": "transcription.done", "usage": {"prompt_tokens": 5, "completion_tokens": 6}}, Usage(5, 6)),
        ({"type": "response.done", "response": {"usage": None}}, None),
        ({"type": "x", "usage": "none"}, None),
        ({"type": "x"}, None),
    ],
)
def test_tokens_are_those_that_events_count(message: dict[str, object], expected: Usage | None) -> None:
    assert usage_of(json.dumps(message)) == expected
    assert usage_of('{"usage"') is None


def test_an_error_is_an_event_of_this_api() -> None:
    event = json.loads(error_event(GatewayError("backend_died", "It died."), "req_1"))
    assert (event["type"], event["event_id"]) == ("error", "event_req_1")
    assert event["error"] == {
        "message": "It died.",
        "type": "backend_error",
        "param": None,
        "code": "backend_died",
        "event_id": None,
    }


@pytest.mark.parametrize(
    ("code", "sent", "well"),
    [
        (1000, 1000, True),
        (1001, 1001, True),
        (1005, 1000, True),
        (1006, 1011, False),
        (1008, 1008, True),
        (1011, 1011, False),
        (1015, 1011, False),
        (2999, 1011, True),
        (4000, 4000, True),
        (5000, 1011, True),
    ],
)
def test_close_codes(code: int, sent: int, well: bool) -> None:
    assert closing(code, None) == (sent, "")
    assert went_well(code) is well


def test_a_long_reason_is_cut_between_two_characters() -> None:
    _, reason = closing(1000, "é" * 100)
    assert reason == "é" * 61
