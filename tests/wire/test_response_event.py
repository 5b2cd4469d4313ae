import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.domain.calls import Usage
from appliance.errors import GatewayError, ProtocolViolation
from appliance.wire.response_event import ResponseEvent, peek_response, response_error_event


@pytest.mark.parametrize("kind", ["response.created", "response.in_progress", "response.output_text.done", "odd"])
def test_what_only_tells_is_only_passed_on(kind: str) -> None:
    assert peek_response(json.dumps({"type": kind, "response": {"usage": None}}).encode()) == ResponseEvent()


@pytest.mark.parametrize("kind", ["output_text", "reasoning_text", "function_call_arguments"])
def test_a_delta_brings_something(kind: str) -> None:
    assert peek_response(json.dumps({"type": f"response.{kind}.delta", "delta": "x"}).encode()).brings


@pytest.mark.parametrize(
    ("kind", "failed", "finish"),
    [("completed", False, "stop"), ("incomplete", False, "length"), ("failed", True, ""), ("cancelled", True, "")],
)
def test_the_last_event_has_the_bill(kind: str, failed: bool, finish: str) -> None:
    usage = {"input_tokens": 25, "output_tokens": 4, "total_tokens": 29, "input_tokens_details": {"cached_tokens": 20}}
    event = {"type": f"response.{kind}", "response": {"status": kind, "usage": usage}}
    seen = peek_response(json.dumps(event).encode())
    assert seen == ResponseEvent(last=True, failed=failed, usage=Usage(25, 4, 20), finish=finish)


@pytest.mark.parametrize("data", [b'{"type":"error","message":"x"}', b'{"error":{"code":500,"message":"x"}}'])
def test_an_error_of_the_engine_in_either_form(data: bytes) -> None:
    assert peek_response(data) == ResponseEvent(failed=True)


@pytest.mark.parametrize("data", [b"", b"[]", b'{"type":5}', b'{"type":"x"', b"[" * 5000])
def test_what_is_no_event_breaks_the_protocol(data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        peek_response(data)


@given(st.binary())
def test_any_data_is_an_event_or_a_violation(data: bytes) -> None:
    with contextlib.suppress(ProtocolViolation):
        peek_response(data)


def test_our_error_is_an_event_for_the_api_and_an_exception_for_the_sdk() -> None:
    event = response_error_event(GatewayError("stream_truncated", "it ended"), "req_1", 7)
    name, data, _, _ = event.split(b"\n")
    said = json.loads(data.removeprefix(b"data: "))
    assert name == b"event: error"
    assert (said["type"], said["code"], said["message"], said["sequence_number"]) == (
        "error",
        "stream_truncated",
        "it ended",
        7,
    )
    assert said["error"]["type"] == "backend_error"
    assert said["request_id"] == "req_1"
