import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.domain.calls import Operation
from appliance.domain.engines import ENGINES
from appliance.errors import GatewayError
from appliance.translate.messages_request import parse_count, parse_messages

HELLO = [{"role": "user", "content": "Hello!"}]
TOOL = {"name": "f", "description": "d", "input_schema": {"properties": {"x": {"type": "integer"}}}}


def chat(engine: str = "openai", **members: Any) -> Any:
    call = parse_messages(json.dumps({"model": "m", "messages": HELLO} | members).encode())
    assert call.foreign is not None
    return json.loads(call.foreign.chat_body(engine, "theirs"))


def refused(body: bytes) -> tuple[str, str | None]:
    with pytest.raises(GatewayError) as caught:
        parse_messages(body).foreign.chat_body("vllm", "theirs")  # type: ignore[union-attr]
    return caught.value.code, caught.value.param


def test_the_least_there_can_be() -> None:
    call = parse_messages(b'{"messages":[{"role":"user","content":"Hello!"}]}')
    assert (call.operation, call.model, call.stream, call.request_id) == (Operation.MESSAGES, "", False, None)
    assert call.foreign is not None
    assert json.loads(call.foreign.chat_body("vllm", "theirs")) == {
        "model": "theirs",
        "messages": HELLO,
        "max_tokens": 4096,
    }


def test_everything_that_has_a_counterpart() -> None:
    assert chat(
        "openai",
        max_tokens=512,
        stop_sequences=["END"],
        temperature=0.2,
        top_p=0.9,
        top_k=40,
        metadata={"user_id": "u"},
        tools=[TOOL],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        output_config={"effort": "max", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    ) == {
        "model": "theirs",
        "messages": HELLO,
        "max_tokens": 512,
        "stop": ["END"],
        "temperature": 0.2,
        "top_p": 0.9,
        "user": "u",
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "f",
                    "description": "d",
                    "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}},
                },
            }
        ],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "reasoning_effort": "high",
        "response_format": {"type": "json_schema", "json_schema": {"name": "output", "schema": {"type": "object"}}},
    }


def test_what_concerns_anthropics_own_service_is_left_out() -> None:
    names = ["service_tier", "cache_control", "container", "context_management", "mcp_servers", "betas", "anything"]
    members: dict[str, Any] = {name: {"type": "x"} for name in names}
    assert chat("vllm", **members) == chat("vllm")


@pytest.mark.parametrize(("engine", "kept"), [("vllm", True), ("llama.cpp", True), ("openai", False)])
def test_top_k_goes_to_engines_that_know_it(engine: str, kept: bool) -> None:
    assert ("top_k" in chat(engine, top_k=40)) == kept


@pytest.mark.parametrize(
    ("choice", "expected"),
    [({"type": "auto"}, "auto"), ({"type": "any"}, "required"), ({"type": "none"}, "none")],
)
def test_choices_of_tools(choice: dict[str, Any], expected: str) -> None:
    assert chat("vllm", tools=[TOOL], tool_choice=choice)["tool_choice"] == expected
    assert "tool_choice" not in chat("vllm", tool_choice=choice)


def test_a_tool_by_name() -> None:
    members = {"tools": [TOOL, TOOL | {"name": "g"}], "tool_choice": {"type": "tool", "name": "g"}}
    body = chat("vllm", **members)
    assert len(body["tools"]) == 2
    assert body["tool_choice"] == {"type": "function", "function": {"name": "g"}}
    body = chat("llama.cpp", **members)  # which takes an object for "auto"
    assert [tool["function"]["name"] for tool in body["tools"]] == ["g"]
    assert body["tool_choice"] == "required"


@pytest.mark.parametrize(
    ("engine", "name"), [("vllm", "reasoning"), ("llama.cpp", "reasoning_content"), ("openai", None)]
)
def test_thoughts_of_earlier_turns(engine: str, name: str | None) -> None:
    blocks = [{"type": "thinking", "thinking": "Hm", "signature": "s"}, {"type": "text", "text": "Hi"}]
    message = chat(engine, messages=[*HELLO, {"role": "assistant", "content": blocks}, *HELLO])["messages"][1]
    assert message == {"role": "assistant", "content": "Hi"} | ({name: "Hm"} if name else {})


@pytest.mark.parametrize(
    ("thinking", "engine", "expected"),
    [
        ({"type": "disabled"}, "vllm", {"reasoning_effort": "none"}),
        ({"type": "disabled"}, "llama.cpp", {"reasoning_effort": "none"}),
        ({"type": "disabled"}, "openai", {}),
        ({"type": "enabled", "budget_tokens": 2048}, "llama.cpp", {"thinking_budget_tokens": 2048}),
        ({"type": "enabled", "budget_tokens": 2048}, "vllm", {}),
        ({"type": "adaptive"}, "vllm", {}),
    ],
)
def test_how_much_to_think(thinking: dict[str, Any], engine: str, expected: dict[str, Any]) -> None:
    assert chat(engine, thinking=thinking) == chat(engine) | expected


def test_a_begun_answer_is_continued() -> None:
    begun = [*HELLO, {"role": "assistant", "content": "Once"}]
    body = chat("vllm", messages=begun)
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert "add_generation_prompt" not in chat("llama.cpp", messages=begun)


@pytest.mark.parametrize("engine", ENGINES)
def test_streams_are_asked_for_their_usage(engine: str) -> None:
    body = chat(engine, stream=True)
    assert body["stream"] is True
    assert body["stream_options"]["include_usage"] is True


@pytest.mark.parametrize(
    ("members", "code", "param"),
    [
        ({"messages": None}, "missing_required_parameter", "messages"),
        ({"messages": []}, "missing_required_parameter", "messages"),
        ({"messages": "x"}, "invalid_payload", "messages"),
        ({"messages": [5]}, "invalid_payload", "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "invalid_payload", "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "invalid_payload", "messages[0]"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "invalid_payload", "messages[0].content[0]"),
        ({"max_tokens": -1}, "invalid_payload", "max_tokens"),
        ({"max_tokens": "9"}, "invalid_payload", "max_tokens"),
        ({"temperature": 3}, "invalid_payload", "temperature"),
        ({"stream": 1}, "invalid_payload", "stream"),
        ({"model": 5}, "invalid_payload", "model"),
        ({"model": "m" * 513}, "invalid_payload", "model"),
        ({"request_id": "no spaces"}, "invalid_payload", "request_id"),
        ({"tools": [{}]}, "invalid_payload", "tools[0]"),
        ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, "invalid_payload", "tools[0].type"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "invalid_payload", "tool_choice.name"),
        ({"tool_choice": {"type": "x"}}, "invalid_payload", "tool_choice.type"),
    ],
)
def test_what_is_wrong_is_named(members: dict[str, Any], code: str, param: str) -> None:
    assert refused(json.dumps({"messages": HELLO} | members).encode()) == (code, param)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b'{"messages":[{"role":"user","content":"\xff"}]}',
        b'{"messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"messages":[{"role":"user","content":"x"}],"temperature":NaN}',
        b'{"messages":' + b"[" * 10**6 + b"]" * 10**6 + b"}",
    ],
    ids=["nothing", "array", "null", "half", "not UTF-8", "half a surrogate pair", "NaN", "deep"],
)
def test_bodies_that_are_none(body: bytes) -> None:
    code, _ = refused(body)
    assert code == "invalid_payload"


def test_max_tokens_may_be_none_at_all_or_nothing() -> None:
    assert chat(max_tokens=0)["max_tokens"] == 0
    assert chat(max_tokens=None)["max_tokens"] == 4096


def test_a_count_is_of_the_same_request_and_never_streams() -> None:
    body = json.dumps({"model": "m", "messages": HELLO, "stream": True, "system": "s"}).encode()
    call = parse_count(body)
    assert (call.operation, call.stream, call.body) == (Operation.COUNT_TOKENS, False, body)
    assert call.foreign is not None
    assert "stream" not in json.loads(call.foreign.chat_body("vllm", "x"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
BLOCK = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image", "tool_use", "tool_result", "thinking", "document", "x"])},
    optional=dict.fromkeys(("text", "source", "id", "name", "input", "tool_use_id", "content", "is_error"), JSON),
)
TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system"]), "content": JSON | st.lists(BLOCK, max_size=3)}
)
REQUEST = st.fixed_dictionaries(
    {"messages": st.lists(TURN, max_size=4) | JSON},
    optional=dict.fromkeys(("model", "system", "tools", "tool_choice", "thinking", "stream", "max_tokens"), JSON),
)


@given(REQUEST, st.sampled_from(list(ENGINES)))
def test_any_json_is_a_request_or_a_typed_refusal(value: object, engine: str) -> None:
    with contextlib.suppress(GatewayError):
        call = parse_messages(json.dumps(value).encode())
        assert call.foreign is not None
        assert json.loads(call.foreign.chat_body(engine, "x"))["model"] == "x"


@given(st.binary(max_size=64))
def test_any_bytes_are_a_typed_refusal(body: bytes) -> None:
    with pytest.raises(GatewayError):
        parse_messages(body)


def test_a_pdf_goes_to_the_provider_that_reads_it_and_to_nobody_else() -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}
    turns = [{"role": "user", "content": [{"type": "document", "source": source}]}]
    (message,) = chat("openai-api", messages=turns)["messages"]
    assert message["content"][0]["file"]["file_data"] == "data:application/pdf;base64,JVBE"
    body = json.dumps({"model": "m", "messages": turns}).encode()
    assert refused(body) == ("invalid_payload", "messages[0].content[0].source")
