import json
from typing import Any

import pytest

from appliance.domain.calls import Usage
from appliance.errors import ProtocolViolation
from appliance.translate.anthropic_reply import MessageUsage, chat_usage, finish_of, to_chat_error, to_completion

USAGE = {"input_tokens": 9, "output_tokens": 4, "cache_creation_input_tokens": 2, "cache_read_input_tokens": 3}


def completion(*content: dict[str, Any], stop: str | None = "end_turn", **members: Any) -> Any:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-1", "content": list(content)}
    body = json.dumps(message | {"stop_reason": stop, "usage": USAGE} | members).encode()
    return json.loads(to_completion(body, 1_700_000_000))


def test_text() -> None:
    assert completion({"type": "text", "text": "Hel"}, {"type": "text", "text": "lo", "citations": None}) == {
        "id": "msg_1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "claude-1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 14,
            "completion_tokens": 4,
            "total_tokens": 18,
            "prompt_tokens_details": {"cached_tokens": 3},
        },
    }


def test_thoughts_and_tool_calls() -> None:
    answer = completion(
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}, "caller": {"type": "direct"}},
        {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}},
        stop="tool_use",
    )
    message = answer["choices"][0]["message"]
    assert message["content"] is None
    assert message["reasoning"] == message["reasoning_content"] == "hm"
    assert [json.loads(call["function"]["arguments"]) for call in message["tool_calls"]] == [{"x": 1}, {}]
    assert [call["id"] for call in message["tool_calls"]] == ["toolu_1", "toolu_2"]
    assert answer["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("stop", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("tool_use", "tool_calls"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("invented", "stop"),
        (None, "stop"),
    ],
)
def test_every_reason_has_its_word(stop: str | None, finish: str) -> None:
    assert finish_of(stop) == finish


def test_an_answer_with_nothing_in_it() -> None:
    assert completion()["choices"][0]["message"]["content"] == ""
    assert completion(usage=None)["usage"]["total_tokens"] == 0


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"content":"x"}', b'{"content":[', b"[" * 10**5])
def test_what_is_no_message_is_a_violation(body: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        to_completion(body, 0)


def test_counts_come_bit_by_bit() -> None:
    start = MessageUsage(input_tokens=10, output_tokens=1, cache_read_input_tokens=5).as_usage()
    assert start == Usage(15, 1, 5)
    assert MessageUsage(output_tokens=7).as_usage(start) == Usage(15, 7, 5)
    assert MessageUsage(input_tokens=3).as_usage(start) == Usage(3, 1, 0)
    assert chat_usage(Usage(15, 7, 5))["total_tokens"] == 22


def test_an_error_in_the_clients_envelope() -> None:
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_theirs"}'
    assert json.loads(to_chat_error(529, body, "req_ours")) == {
        "error": {"message": "Overloaded", "type": "overloaded_error", "param": None, "code": "overloaded_error"},
        "request_id": "req_ours",
    }


def test_an_error_without_an_envelope() -> None:
    assert json.loads(to_chat_error(502, b"<html>", "r"))["error"]["message"] == "<html>"
    assert "status 500" in json.loads(to_chat_error(500, b"", "r"))["error"]["message"]
