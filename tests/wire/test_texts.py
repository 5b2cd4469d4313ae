import json
from typing import Any

import msgspec
import pytest

from appliance.errors import GatewayError
from appliance.wire.texts import (
    answer_object,
    answer_texts,
    as_read,
    reply_texts,
    request_object,
    request_texts,
    wants_json,
)

CHAT = {
    "model": "not a text",
    "user": "not a text",
    "request_id": "not a text",
    "messages": [
        {"role": "system", "content": "t1"},
        {
            "role": "user",
            "name": "t2",
            "content": [{"type": "text", "text": "t3"}, {"type": "input_text", "text": "t4"}],
        },
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "auto"}},
                {"type": "image_url", "image_url": {"url": "https://host/t5"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "t6",
            "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "t7", "arguments": "t8"}}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "t9"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "t10",
                "description": "t11",
                "parameters": {"type": "object", "properties": {"k1": {"type": "string", "enum": ["t12"]}}},
            },
        }
    ],
    "chat_template_kwargs": {"k2": "t13"},
    "documents": [{"title": "t14"}],
    "stop": ["not a text"],
}
MESSAGES = {
    "model": "not a text",
    "system": [{"type": "text", "text": "t1", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": "t2"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "t3", "signature": "bG9jYWw="},
                {"type": "tool_use", "id": "toolu_1", "name": "t4", "input": {"k1": "t5", "id": "t6"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "t7"}]},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                {
                    "type": "document",
                    "source": {"type": "text", "media_type": "text/plain", "data": "t8"},
                    "title": "t9",
                },
            ],
        },
    ],
    "tools": [{"name": "t10", "description": "t11", "input_schema": {"type": "object", "properties": {"k2": {}}}}],
    "metadata": {"user_id": "not a text"},
}


@pytest.mark.parametrize(("body", "last"), [(CHAT, 14), (MESSAGES, 11)])
def test_every_text_of_a_request_is_found_and_nothing_else(body: dict[str, Any], last: int) -> None:
    found = request_texts(request_object(json.dumps(body).encode()))
    texts = [text.value.removeprefix("https://host/") for text in found if not text.is_key]
    assert texts == [f"t{number}" for number in range(1, last + 1)]
    assert [text.value for text in found if text.is_key and text.value != "id"] == ["k1", "k2"]


@pytest.mark.parametrize("body", [{"prompt": "t1"}, {"prompt": ["t1"]}, {"input": ["t1"]}, {"prompt": "t1", "n": 1}])
def test_prompts_and_inputs(body: dict[str, Any]) -> None:
    assert [text.value for text in request_texts(body | {"model": "m"})] == ["t1"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
        ({"input": [[1]]}, "input"),
        ({"prompt": "x", "prompt_embeds": "AAAA"}, "prompt_embeds"),
        ({"prompt": "x", "prompt_token_ids": [1]}, "prompt_token_ids"),
    ],
)
def test_what_cannot_be_read_is_refused(body: dict[str, Any], param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        request_texts(body)
    assert (caught.value.code, caught.value.param) == ("invalid_payload", param)


def test_a_body_with_half_a_character_is_refused() -> None:
    with pytest.raises(GatewayError, match="invalid_payload"):
        request_object(b'{"prompt":"\\ud800"}')


def test_a_text_is_replaced_and_everything_else_stays_as_it_was_written() -> None:
    body = (
        b'{"model":"m","temperature":1.0,"seed":123456789012345678901234567890,"x":1e5,"logit_bias":{"5":0.10},'
        b'"messages":[{"role":"user","content":"t1"}],"tools":[{"function":{"parameters":{"k":1.50}}}]}'
    )
    request = request_object(body)
    for text in request_texts(request):
        text.replace(f"<{text.value}>")
    expected = body.replace(b'"t1"', b'"<t1>"').replace(b'"k"', b'"<k>"')
    assert msgspec.json.encode(request) == expected


def test_a_name_twice_counts_as_it_will_be_sent() -> None:
    request = request_object(b'{"model":"m","prompt":"t1","prompt":"t2"}')
    assert [text.value for text in request_texts(request)] == ["t2"]
    assert msgspec.json.encode(request) == b'{"model":"m","prompt":"t2"}'


def test_texts_of_a_whole_answer() -> None:
    message = {
        "role": "assistant",
        "content": "t2",
        "reasoning": "t1",
        "spare": "gone",
        "refusal": None,
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "t3", "arguments": "t4"}}],
    }
    answer = {"id": "1", "usage": {}, "choices": [{"index": 0, "message": message, "logprobs": {"content": ["gone"]}}]}
    answer["prompt_logprobs"] = "gone"
    found = answer_texts(answer, json_content=False)
    assert [(text.value, text.json) for text in found] == [("t1", False), ("t2", False), ("t3", False), ("t4", True)]
    assert "gone" not in json.dumps(answer)
    assert answer["choices"][0]["logprobs"] is None  # type: ignore[index]
    found[1].replace("new")
    assert answer["choices"][0]["message"]["content"] == "new"  # type: ignore[index]


def test_the_text_of_a_completion_and_a_content_that_is_json() -> None:
    (text,) = answer_texts({"choices": [{"index": 0, "text": "t1"}]}, json_content=True)
    assert (text.value, text.json) == ("t1", False)
    (text,) = answer_texts({"choices": [{"index": 0, "message": {"content": "{}"}}]}, json_content=True)
    assert text.json


@pytest.mark.parametrize(
    "answer", [{}, {"choices": None}, {"choices": [1, {"message": 1}, {"message": {"content": 7}}]}]
)
def test_odd_answers_have_no_texts(answer: dict[str, Any]) -> None:
    assert answer_texts(answer, json_content=False) == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"response_format":{"type":"json_object"}}', True),
        (b'{"response_format":{"type":"json_schema"}}', True),
        (b'{"output_config":{"format":{"type":"json_schema"}}}', True),
        (b'{"response_format":{"type":"text"}}', False),
        (b'{"text":{"format":{"type":"json_schema"}}}', True),
        (b'{"output_config":{}}', False),
        (b"{}", False),
        (b'{"response_format":7}', False),
    ],
)
def test_who_wants_json(body: bytes, expected: bool) -> None:
    assert wants_json(body) is expected


def test_an_answer_that_is_no_object_is_none() -> None:
    assert answer_object(b"[]") is None
    assert answer_object(b"{") is None


def test_texts_of_a_response_are_those_of_its_output() -> None:
    part = {"type": "output_text", "text": "t2", "logprobs": [{"token": "t2"}]}
    item = {"type": "message", "id": "i", "role": "assistant", "status": "completed", "content": [part]}
    call = {"type": "function_call", "call_id": "c", "name": "t3", "arguments": "t4"}
    whole = {"id": "r", "model": "m", "instructions": "the client's", "output": [item, call]}
    for value in (whole, {"type": "response.completed", "response": whole}):
        found = reply_texts(value)
        assert sorted((text.value, text.json) for text in found) == [("t2", False), ("t3", False), ("t4", True)]
    assert part["logprobs"] == []


def test_texts_of_a_transcript() -> None:
    answer = {
        "task": "transcribe",
        "text": "t1",
        "segments": [{"id": 0, "text": "t2", "start": 0.5}],
        "words": [{"word": "t3"}],
    }
    assert sorted(text.value for text in reply_texts(answer)) == ["t1", "t2", "t3"]


@pytest.mark.parametrize(
    "body", [{"documents": ["a"] * 50_001}, {"x": [[1] * 1000] * 51}, {"y": {str(n): 1 for n in range(50_001)}}]
)
def test_a_request_with_too_many_parts_is_refused_before_it_holds_up_others(body: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as caught:
        request_texts(body)
    assert caught.value.code == "invalid_payload"
    assert request_texts({"input": ["a"] * 2048 + [f"{'b' * 100_000}"]})


def test_the_parts_of_one_content_are_read_as_one_text_whatever_else_they_hold() -> None:
    parts = [{"type": "text", "text": "t1", "x": "x"}, {"type": "image_url"}, {"type": "text", "text": "t2"}]
    request = {
        "messages": [{"content": parts}, {"content": "t3"}, {"content": [{"text": "t4"}]}],
        "documents": [{"text": "t5"}, {"text": "t6"}],
        "system": [{"text": "t7"}, {"text": "t8"}],
    }
    groups = [[text.value for text in group] for group in as_read(request_texts(request))]
    assert sorted(groups) == [["t1", "t2"], ["t3"], ["t4"], ["t5"], ["t6"], ["t7", "t8"], ["x"]]


def test_the_parts_of_an_answer_are_read_as_one_text() -> None:
    answer = {"choices": [{"message": {"content": [{"type": "text", "text": "t1"}, {"type": "text", "text": "t2"}]}}]}
    (group,) = as_read(answer_texts(answer, json_content=False))
    assert [text.value for text in group] == ["t1", "t2"]
