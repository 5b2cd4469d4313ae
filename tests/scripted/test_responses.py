import json
from typing import Any

import pytest

from appliance.scripted.replies import BadRequest, Plan, plan
from appliance.scripted.responses import as_chat, error_event, events, whole

TOOL = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}}


def planned(**fields: Any) -> Plan:
    return plan("chat", as_chat({"model": "m", "input": "hello there"} | fields))


def told(of: Plan) -> list[dict[str, Any]]:
    said = []
    for event in events(of):
        name, data, _, _ = event.data.split(b"\n")
        said.append(json.loads(data.removeprefix(b"data: ")))
        assert name.decode() == f"event: {said[-1]['type']}"
    return said


def test_a_whole_reply_and_a_streamed_one_say_the_same() -> None:
    reply = json.loads(whole(planned()))
    first, *_, last = told(planned())
    assert (first["type"], last["type"]) == ("response.created", "response.completed")
    assert last["response"] == reply
    assert reply["usage"]["input_tokens"] == 2
    deltas = [event["delta"] for event in told(planned()) if event["type"].endswith(".delta")]
    assert "".join(deltas) == reply["output"][0]["content"][0]["text"]


def test_a_reply_that_is_cut_short_is_incomplete() -> None:
    assert told(planned(max_output_tokens=3))[-1]["type"] == "response.incomplete"


def test_a_tool_is_called_and_its_result_answered_in_words() -> None:
    (call,) = json.loads(whole(planned(tools=[TOOL])))["output"]
    assert (call["type"], call["name"], set(json.loads(call["arguments"]))) == ("function_call", "f", {"x"})
    back = [{"role": "user", "content": "hi"}, call, {"type": "function_call_output", "output": "4"}]
    assert json.loads(whole(planned(tools=[TOOL], input=back)))["output"][0]["type"] == "message"


def test_without_input_there_is_no_reply() -> None:
    with pytest.raises(BadRequest):
        as_chat({"model": "m"})


def test_an_error_is_an_event_of_its_own() -> None:
    assert error_event("x").startswith(b"event: error\n")
