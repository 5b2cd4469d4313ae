import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.domain.calls import Operation, Usage
from appliance.errors import GatewayError, ProtocolViolation
from appliance.translate.native_messages import look, native_body, parse_native, told_by_message

HELLO = [{"role": "user", "content": "Hello!"}]


def parse(**members: Any) -> Any:
    return parse_native(Operation.MESSAGES, json.dumps({"model": "claude", "messages": HELLO} | members).encode())


def sent(*, counted: bool = False, **members: Any) -> Any:
    body = json.dumps({"model": "claude", "messages": HELLO} | members).encode()
    return json.loads(native_body(body, "claude-1", counted=counted))


def test_what_is_looked_at() -> None:
    call = parse(stream=True, request_id="r-1", tools=[{"type": "web_search_20250305", "name": "web_search"}])
    assert (call.operation, call.model, call.stream, call.request_id) == (Operation.MESSAGES, "claude", True, "r-1")
    with pytest.raises(GatewayError, match="run at Anthropic only"):
        call.foreign.chat_body("anthropic-api", "m")


@pytest.mark.parametrize(
    ("members", "code", "param"),
    [
        ({"model": None}, "missing_required_parameter", "model"),
        ({"model": ""}, "missing_required_parameter", "model"),
        ({"messages": []}, "missing_required_parameter", "messages"),
        ({"messages": None}, "missing_required_parameter", "messages"),
        ({"model": 5}, "invalid_payload", "model"),
        ({"messages": "x"}, "invalid_payload", "messages"),
        ({"messages": ["x"]}, "invalid_payload", "messages"),
        ({"stream": "yes"}, "invalid_payload", "stream"),
        ({"request_id": "no spaces"}, "invalid_payload", "request_id"),
    ],
)
def test_what_is_wrong_is_named(members: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        parse(**members)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_members_of_the_providers_own_pass_untouched() -> None:
    own: dict[str, Any] = {
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "mcp_servers": [{"url": "x"}],
        "tools": [{"type": "web_search_20250305", "name": "web_search"}],
        "temperature": 0.5,
    }
    assert sent(**own, request_id="r-1") == own | {"model": "claude-1", "messages": HELLO, "max_tokens": 4096}


def test_max_tokens_stays_or_is_ours_and_a_count_has_none() -> None:
    assert sent(max_tokens=5)["max_tokens"] == 5
    assert sent(max_tokens=None)["max_tokens"] == 4096
    assert "max_tokens" not in sent(counted=True)


def test_a_system_turn_is_the_users_and_joins_its_neighbours() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://x"}}
    turns = [
        {"role": "user", "content": [image]},
        {"role": "system", "content": "note"},
        {"role": "assistant", "content": "ok"},
        {"role": "system", "content": [{"type": "text", "text": "more"}]},
    ]
    assert sent(messages=turns)["messages"] == [
        {"role": "user", "content": [image, {"type": "text", "text": "note"}]},
        {"role": "assistant", "content": "ok"},
        {"role": "user", "content": [{"type": "text", "text": "more"}]},
    ]


def test_the_counts_of_a_whole_message() -> None:
    body = b'{"usage":{"input_tokens":9,"output_tokens":4,"cache_read_input_tokens":1,"service_tier":null}}'
    assert told_by_message(body) == (Usage(10, 4, 1), "")
    assert told_by_message(b'{"stop_reason":"max_tokens"}') == (None, "max_tokens")
    for wrong in (b"", b"[]", b"x"):
        with pytest.raises(ProtocolViolation):
            told_by_message(wrong)


def test_what_an_event_says() -> None:
    start = look(b'{"type":"message_start","message":{"usage":{"input_tokens":9,"output_tokens":1}}}', Usage())
    assert (start.type, start.usage) == ("message_start", Usage(9, 1))
    end = look(b'{"type":"message_delta","delta":{},"usage":{"output_tokens":7}}', Usage(9, 1))
    assert end.usage == Usage(9, 7)
    assert look(b'{"type":"content_block_start","index":3,"content_block":{}}', Usage()).index == 3
    with pytest.raises(ProtocolViolation):
        look(b"{}", Usage())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
TURN = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]) | JSON, "content": JSON})


@given(st.fixed_dictionaries({"model": st.just("m"), "messages": st.lists(TURN | JSON, max_size=4)}))
def test_any_json_is_passed_on_or_a_typed_refusal(value: object) -> None:
    body = json.dumps(value).encode()
    with contextlib.suppress(GatewayError):
        parse_native(Operation.MESSAGES, body)
        assert json.loads(native_body(body, "x"))["model"] == "x"


@given(st.binary(max_size=64))
def test_any_bytes_are_a_typed_refusal(body: bytes) -> None:
    with pytest.raises(GatewayError):
        parse_native(Operation.MESSAGES, body)
