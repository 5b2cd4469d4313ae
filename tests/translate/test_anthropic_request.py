import contextlib
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import GatewayError
from appliance.translate.anthropic_request import messages_body

PNG = "iVBORw0KGgo="
HELLO = {"role": "user", "content": "Hello!"}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"properties": {}}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
OTHER = {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": ""}}


def asked(*messages: dict[str, Any], **members: Any) -> Any:
    body = {"model": "claude-x", "messages": list(messages) or [HELLO], **members}
    return json.loads(messages_body(json.dumps(body).encode(), "claude-1"))


def turns(*messages: dict[str, Any], **members: Any) -> Any:
    return asked(*messages, **members)["messages"]


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def test_the_least_there_can_be() -> None:
    assert asked() == {
        "model": "claude-1",
        "messages": [{"role": "user", "content": [text("Hello!")]}],
        "max_tokens": 4096,
    }


def test_leading_system_and_developer_messages_are_the_system_prompt_and_later_ones_the_users() -> None:
    request = asked(
        {"role": "system", "content": "one"},
        {"role": "developer", "content": [text("two"), text("three")]},
        HELLO,
        {"role": "system", "content": "note"},
    )
    assert request["system"] == "one\n\ntwo\n\nthree"
    assert request["messages"] == [{"role": "user", "content": [text("Hello!"), text("note")]}]


def test_images_and_pdfs() -> None:
    parts = [
        text("see"),
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PNG}"}},
    ]
    assert turns({"role": "user", "content": parts})[0]["content"] == [
        text("see"),
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PNG},
            "title": "a.pdf",
        },
    ]


def test_results_of_tools_and_what_the_user_says_next_are_one_turn_results_first() -> None:
    assert turns(
        HELLO,
        {"role": "assistant", "content": "I look.", "tool_calls": [CALL, OTHER]},
        {"role": "tool", "tool_call_id": "call_1", "content": "5"},
        {"role": "tool", "tool_call_id": "call_2", "content": [text("6")]},
        {"role": "user", "content": "And?"},
    )[1:] == [
        {
            "role": "assistant",
            "content": [
                text("I look."),
                {"type": "tool_use", "id": "call_1", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "call_2", "name": "g", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "5"},
                {"type": "tool_result", "tool_use_id": "call_2", "content": "6"},
                text("And?"),
            ],
        },
    ]


def test_no_empty_block_or_turn_is_sent() -> None:
    empty = {"role": "assistant", "content": ""}
    assert turns({"role": "user", "content": [text(" "), text("x")]}, empty, {"role": "user", "content": "y"}) == [
        {"role": "user", "content": [text("x"), text("y")]}
    ]


def test_the_start_of_an_answer_loses_its_last_blanks() -> None:
    assert turns(HELLO, {"role": "assistant", "content": "The answer is \n"})[1]["content"] == [text("The answer is")]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_tokens": 5, "max_completion_tokens": 7}, {"max_tokens": 7}),
        ({"temperature": 1.8, "top_p": 0.5}, {"temperature": 1.0, "top_p": None}),
        ({"top_p": 0.5}, {"top_p": 0.5}),
        ({"top_k": 5}, {"top_k": 5}),
        ({"stop": "a"}, {"stop_sequences": ["a"]}),
        ({"stop": ["a", " ", "b"]}, {"stop_sequences": ["a", "b"]}),
        ({"stop": [" "]}, {"stop_sequences": None}),
        ({"user": "u1"}, {"metadata": {"user_id": "u1"}}),
        ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True, "stream_options": None}),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}, "output_config": None}),
        ({"reasoning_effort": "minimal"}, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
        ({"reasoning_effort": "high", "temperature": 0.1}, {"output_config": {"effort": "high"}, "temperature": None}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}},
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        ),
        ({"response_format": {"type": "json_object"}}, {"output_config": None}),
        ({"seed": 1, "logprobs": True, "n": 1, "presence_penalty": 1}, {"seed": None, "logprobs": None, "n": None}),
        ({"request_id": "r-1"}, {"request_id": None}),
    ],
)
def test_what_becomes_of_a_parameter(given: dict[str, Any], sent: dict[str, Any]) -> None:
    request = asked(**given)
    assert {name: request.get(name) for name in sent} == sent


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, {"type": "tool", "name": "f"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": True}, None),
    ],
)
def test_tools_and_the_choice_among_them(given: dict[str, Any], choice: object) -> None:
    request = asked(tools=[TOOL], **given)
    assert request["tools"] == [{"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}}]
    assert request.get("tool_choice") == choice


def test_thoughts_that_cannot_be_given_back_are_not_asked_for_in_the_middle_of_a_tools_use() -> None:
    request = asked(
        HELLO,
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "5"},
        reasoning_effort="high",
    )
    assert "thinking" not in request
    assert request["output_config"] == {"effort": "high"}


@pytest.mark.parametrize(
    ("messages", "members", "param"),
    [
        ([HELLO], {"n": 2}, "n"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], {}, "messages[0].content[0].type"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}],
            {},
            "messages[0].content[0].image_url.url",
        ),
        ([{"role": "user", "content": [{"type": "file", "file": {}}]}], {}, "messages[0].content[0].file.file_data"),
        ([{"role": "system", "content": [{"type": "image_url"}]}, HELLO], {}, "messages[0].content[0].type"),
        ([{"role": "function", "content": "x"}], {}, "messages[0].role"),
        ([{"role": "system", "content": "alone"}], {}, "messages"),
        ([HELLO, {"role": "tool", "content": "x"}], {}, "messages[1].tool_call_id"),
        ([HELLO, {"role": "assistant", "tool_calls": [{"id": "c"}]}], {}, "messages[1].tool_calls[0]"),
        (
            [HELLO, {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "[1]"}}]}],
            {},
            "messages[1].tool_calls[0].function.arguments",
        ),
        ([HELLO], {"tools": [{"type": "custom"}]}, "tools[0]"),
        ([HELLO], {"tools": [TOOL], "tool_choice": "maybe"}, "tool_choice"),
        ([HELLO], {"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice.function.name"),
        ([HELLO], {"stop": 5}, "stop"),
    ],
)
def test_what_cannot_be_asked_is_named(messages: list[dict[str, Any]], members: dict[str, Any], param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        asked(*messages, **members)
    assert (caught.value.code, caught.value.param) == ("invalid_payload", param)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "file", "x"])},
    optional=dict.fromkeys(("text", "image_url", "file"), JSON),
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": JSON | st.lists(PART, max_size=3)},
    optional={"tool_calls": st.lists(st.just(CALL) | JSON, max_size=2), "tool_call_id": st.just("c") | JSON},
)


@given(
    st.fixed_dictionaries(
        {"messages": st.lists(MESSAGE, max_size=4)},
        optional=dict.fromkeys(("tools", "tool_choice", "stop", "n", "response_format", "max_tokens"), JSON),
    )
)
def test_any_request_becomes_one_that_alternates_or_a_typed_refusal(value: object) -> None:
    with contextlib.suppress(GatewayError):
        request = json.loads(messages_body(json.dumps(value).encode(), "x"))
        roles = [turn["role"] for turn in request["messages"]]
        assert roles
        assert all(one != other for one, other in itertools.pairwise(roles))
        assert all(turn["content"] for turn in request["messages"])
