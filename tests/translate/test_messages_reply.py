import json
from typing import Any

import pytest

from appliance.domain.calls import Usage
from appliance.errors import ProtocolViolation
from appliance.translate.messages_reply import to_message


def completion(message: dict[str, Any], finish: str = "stop", **more: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **more}
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2}}
    return json.dumps({"id": "chatcmpl-1", "model": "m", "choices": [choice], "usage": usage}).encode()


def message(body: bytes) -> Any:
    return json.loads(to_message(body, "msg_1", "req_1", "public")[0])


def tool(arguments: str | None, finish: str = "tool_calls") -> Any:
    calls = [{"id": "c0", "type": "function", "function": {"name": "f", "arguments": arguments}}]
    return message(completion({"content": None, "tool_calls": calls}, finish))


def test_a_text_byte_for_byte() -> None:
    body, usage, finish = to_message(completion({"content": "Hi"}), "msg_1", "req_1", "public")
    assert (usage, finish) == (Usage(9, 4, 2), "stop")
    assert json.loads(body) == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "Hi", "citations": None}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "usage": {
            "input_tokens": 7,
            "output_tokens": 4,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 2,
            "cache_creation": None,
            "server_tool_use": None,
            "service_tier": None,
            "inference_geo": None,
            "output_tokens_details": None,
        },
        "request_id": "req_1",
    }


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_thoughts_come_first(name: str) -> None:
    thinking, text = message(completion({"content": "Hi", name: "Hm"}))["content"]
    assert (thinking["type"], thinking["thinking"], bool(thinking["signature"])) == ("thinking", "Hm", True)
    assert text["type"] == "text"


@pytest.mark.parametrize(
    ("arguments", "finish", "expected"),
    [
        ('{"x": 1.50, "y": 12345678901234567890}', "tool_calls", {"x": 1.5, "y": 12345678901234567890}),
        ("", "tool_calls", {}),
        (None, "tool_calls", {}),
        ('{"x":', "length", {}),
        ('{"x":', "tool_calls", {"_raw": '{"x":'}),
        ("[1]", "tool_calls", {"_raw": "[1]"}),
        ("[" * 100_000, "tool_calls", {"_raw": "[" * 100_000}),
    ],
)
def test_arguments_become_an_object_and_are_never_lost(arguments: str | None, finish: str, expected: Any) -> None:
    (block,) = tool(arguments, finish)["content"]
    assert (block["id"], block["name"], block["input"]) == ("c0", "f", expected)


def test_a_refusal_is_a_text_with_its_reason() -> None:
    answer = message(completion({"content": None, "refusal": "No."}))
    assert (answer["content"][0]["text"], answer["stop_reason"]) == ("No.", "refusal")


def test_nothing_at_all_is_one_empty_text() -> None:
    assert message(completion({"content": None}))["content"] == [{"type": "text", "text": "", "citations": None}]


def test_a_stop_string_that_vllm_names() -> None:
    answer = message(completion({"content": "x"}, stop_reason="END"))
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "END")


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"choices":[]}', b"null", b'{"choices":[{}]}', completion({"content": "x"}, "abort")]
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        to_message(body, "msg_1", "req_1", "m")


def test_an_engine_that_does_not_count() -> None:
    body, usage, finish = to_message(b'{"choices":[{"message":{"content":"x"}}]}', "msg_1", "r", "public")
    assert (usage, finish) == (None, "")
    assert json.loads(body)["model"] == "public"
