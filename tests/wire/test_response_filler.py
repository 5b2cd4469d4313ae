import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolViolation
from appliance.wire.response_filler import ResponseFiller, filled_body, is_whole


def fill(filler: ResponseFiller, number: int = 0, **members: object) -> Any:
    return json.loads(filler.filled(json.dumps(members).encode(), number))


def test_an_engine_that_numbers_its_events_is_known_by_one() -> None:
    assert is_whole(b'{"type":"response.created","sequence_number":0}')
    assert not is_whole(b'{"type":"response.created"}')


def test_items_and_their_parts_are_counted_as_they_are_begun() -> None:
    filler = ResponseFiller("m", 7)
    thought, text = {"item_id": "rs_1"}, {"item_id": "msg_1"}
    events = [
        fill(filler, 0, type="response.output_item.added", item={"id": "rs_1", "type": "reasoning"}),
        fill(filler, 1, type="response.reasoning_text.delta", **thought, delta="h"),
        fill(filler, 2, type="response.reasoning_summary_text.delta", **thought, delta="h"),
        fill(filler, 3, type="response.output_item.added", item={"id": "msg_1", "type": "message"}),
        fill(filler, 4, type="response.content_part.added", **text, part={}),
        fill(filler, 5, type="response.output_text.delta", **text, delta="a"),
        fill(filler, 6, type="response.content_part.added", **text, part={}),
        fill(filler, 7, type="response.refusal.done", **text),
        fill(filler, 8, type="response.output_item.done", item={"id": "rs_1", "type": "reasoning"}),
    ]
    assert [event["sequence_number"] for event in events] == list(range(9))
    assert [event["output_index"] for event in events] == [0, 0, 0, 1, 1, 1, 1, 1, 0]
    assert [event.get("content_index") for event in events] == [None, 0, None, None, 0, 0, 1, 1, None]
    assert events[2]["summary_index"] == 0


def test_a_call_is_known_by_the_name_that_it_has_and_gets_the_one_that_its_events_use() -> None:
    filler = ResponseFiller("m", 7)
    for number in range(2):
        name = f"fc_{number}"
        item = {"type": "function_call", "call_id": name, "name": "w", "arguments": ""}
        added = fill(filler, type="response.output_item.added", item=item)
        delta = fill(filler, type="response.function_call_arguments.delta", item_id=name, delta="{")
        assert (added["item"]["id"], added["output_index"], delta["output_index"]) == (name, number, number)
        assert "content_index" not in delta


@pytest.mark.parametrize("kind", ["created", "in_progress", "completed"])
def test_a_response_has_all_that_the_api_promises(kind: str) -> None:
    event = fill(ResponseFiller("m", 7), 3, type=f"response.{kind}", response={"id": "r", "usage": {"input_tokens": 1}})
    response = event["response"]
    assert event["sequence_number"] == 3
    assert (response["id"], response["model"], response["created_at"], response["output"]) == ("r", "m", 7, [])
    assert {"error", "incomplete_details", "instructions", "metadata", "tools", "tool_choice"} <= set(response)
    assert response["usage"]["input_tokens"] == 1
    assert response["usage"]["output_tokens_details"] == {"reasoning_tokens": 0}


def test_a_count_that_is_not_there_yet_is_not_made_up() -> None:
    for response in ({"id": "r"}, {"id": "r", "usage": None}):
        event = fill(ResponseFiller("m", 7), type="response.created", response=response)
        assert event["response"].get("usage") is None


@given(
    st.integers(0, 9),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["response.output_text.delta", "response.content_part.added", "x"])},
        optional={
            "sequence_number": st.integers(0, 99),
            "item_id": st.sampled_from(["a", "b"]),
            "output_index": st.integers(0, 9),
            "content_index": st.integers(0, 9),
            "delta": st.text(),
            "other": st.none() | st.floats(allow_nan=False) | st.lists(st.booleans()),
        },
    ),
)
def test_what_an_engine_wrote_is_never_changed(number: int, event: dict[str, Any]) -> None:
    filled = fill(ResponseFiller("m", 7), number, **event)
    assert {name: filled[name] for name in event} == event
    assert filled["sequence_number"] == event.get("sequence_number", number)


def test_a_place_that_the_engine_told_once_holds_where_it_does_not() -> None:
    filler = ResponseFiller("m", 7)
    fill(filler, type="response.output_item.added", output_index=4, item={"id": "a"})
    assert fill(filler, type="response.output_text.delta", item_id="a")["output_index"] == 4


@pytest.mark.parametrize(
    "data", [b"[]", b"{no", b'{"type":1}', b'{"response":[]}', b'{"item":3}', b'{"item_id":"a","output_index":"x"}']
)
def test_what_is_no_such_event_is_a_violation(data: bytes) -> None:
    with pytest.raises(ProtocolViolation, match="not one of a response"):
        ResponseFiller("m", 7).filled(data, 0)


def test_a_whole_answer_is_filled_in_alike_and_anything_else_stays() -> None:
    filled = json.loads(filled_body(b'{"id":"r","output":[{"a":1}],"model":"own"}', "m", 7))
    assert (filled["output"], filled["model"], filled["tools"]) == ([{"a": 1}], "own", [])
    for body in (b"", b"[1]", b"{no", b'{"usage":3}'):
        assert filled_body(body, "m", 7) == body
