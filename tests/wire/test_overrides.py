import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.domain.calls import Call, Operation
from appliance.translate.messages_request import parse_messages
from appliance.wire.form import parse_form
from appliance.wire.named_request import parse_named
from appliance.wire.openai_request import parse_call
from appliance.wire.outgoing import outgoing_body
from appliance.wire.overrides import Overrides

HELLO = [{"role": "user", "content": "Hi"}]
SYSTEM = {"role": "system", "content": "Be brief."}
DEVELOPER = {"role": "developer", "content": "Be kind."}


def sent(overrides: Overrides, **fields: Any) -> dict[str, Any]:
    """What an engine gets of a chat request."""
    call = parse_call(Operation.CHAT, json.dumps({"model": "m", "messages": HELLO} | fields).encode())
    body: dict[str, Any] = json.loads(outgoing_body(overrides.applied(call), "m"))
    return body


def test_absent_fields_are_filled_in_and_those_that_are_there_are_kept() -> None:
    overrides = Overrides({"temperature": 0.5, "top_k": 3, "seed": 1}, {}, ())
    body = sent(overrides, temperature=0, top_k=None)
    assert (body["temperature"], body["top_k"], body["seed"]) == (0, 3, 1)


def test_a_limit_under_its_other_name_is_a_limit() -> None:
    assert "max_tokens" not in sent(Overrides({"max_tokens": 5}, {}, ()), max_completion_tokens=9)
    assert sent(Overrides({"max_tokens": 5}, {}, ()), max_completion_tokens=None)["max_tokens"] == 5


def test_forced_fields_replace_and_stripped_ones_are_gone() -> None:
    body = sent(Overrides({}, {"temperature": 0, "x": {"y": [1]}}, ("user", "seed")), temperature=1, user="u", seed=4)
    assert (body["temperature"], body["x"]) == (0, {"y": [1]})
    assert not {"user", "seed"} & set(body)


def test_what_is_stripped_can_have_a_default_of_the_owner() -> None:
    assert sent(Overrides({"user": "us"}, {}, ("user",)), user="me")["user"] == "us"


def test_other_members_pass_byte_for_byte_and_streams_are_counted() -> None:
    body = b'{"model":"m","messages":[ {"role":"user","x":1.0e2} ],"stream":true,"seed":12345678901234567890123}'
    call = Overrides({"top_k": 1}, {}, ()).applied(parse_call(Operation.CHAT, body))
    out = outgoing_body(call, "m")
    assert out.startswith(body[:-1])
    assert json.loads(out)["stream_options"] == {"include_usage": True}


TEXT, PARTS = "Be brief.", [{"type": "text", "text": "Be brief."}]
IMAGE = {"type": "image_url", "image_url": {"url": "data:"}}


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([SYSTEM, *HELLO], [{"role": "user", "content": "Be brief.\n\nHi"}]),
        (
            [SYSTEM | {"content": PARTS}, {"role": "user", "content": [IMAGE]}],
            [{"role": "user", "content": [*PARTS, IMAGE]}],
        ),
        ([SYSTEM, {"role": "user", "content": [IMAGE]}], [{"role": "user", "content": [*PARTS, IMAGE]}]),
        ([SYSTEM], [{"role": "user", "content": TEXT}]),
        (
            [{"role": "assistant", "content": "A"}, *HELLO, SYSTEM],
            [{"role": "assistant", "content": "A"}, {"role": "user", "content": "Be brief.\n\nHi"}],
        ),
        ([SYSTEM, SYSTEM, {"role": "user", "content": None}], [{"role": "user", "content": f"{TEXT}\n\n{TEXT}"}]),
        ([SYSTEM | {"content": ""}, *HELLO], HELLO),
        (HELLO, HELLO),
    ],
)
def test_a_template_without_a_system_role(messages: list[Any], expected: list[Any]) -> None:
    assert sent(Overrides({}, {}, (), "user"), messages=messages)["messages"] == expected


def test_a_template_with_one_system_message_at_the_front() -> None:
    messages = [SYSTEM, *HELLO, {"role": "assistant", "content": "A"}, SYSTEM | {"content": "Stop."}]
    expected = [{"role": "system", "content": "Be brief.\n\nStop."}, *HELLO, {"role": "assistant", "content": "A"}]
    assert sent(Overrides({}, {}, (), "first"), messages=messages)["messages"] == expected


@pytest.mark.parametrize("role", ["system", "user"])
def test_the_developers_role_becomes_another(role: Literal["system", "user"]) -> None:
    messages = sent(Overrides({}, {}, (), developer=role), messages=[DEVELOPER, *HELLO])["messages"]
    assert messages == [DEVELOPER | {"role": role}, *HELLO]


def test_the_developer_who_is_the_system_is_moved_with_it() -> None:
    messages = sent(Overrides({}, {}, (), "user", "system"), messages=[SYSTEM, DEVELOPER, *HELLO])["messages"]
    assert messages == [{"role": "user", "content": "Be brief.\n\nBe kind.\n\nHi"}]


def test_roles_are_as_they_were_where_nothing_is_said() -> None:
    assert sent(Overrides({"x": 1}, {}, ()), messages=[SYSTEM, DEVELOPER, *HELLO])["messages"] == [
        SYSTEM,
        DEVELOPER,
        *HELLO,
    ]


def message(**fields: Any) -> Call:
    return parse_messages(json.dumps({"model": "m", "messages": HELLO, "system": "Be brief."} | fields).encode())


def test_a_translated_request_is_changed_as_the_chat_request_that_it_becomes() -> None:
    call = Overrides({"max_tokens": 7}, {"seed": 1}, (), "user").applied(message())
    assert call.foreign is not None
    body = json.loads(call.foreign.chat_body("llama.cpp", "x"))
    assert body["messages"] == [{"role": "user", "content": "Be brief.\n\nHi"}]
    assert (body["model"], body["max_tokens"], body["seed"]) == ("x", 7, 1)


def test_what_a_messages_client_asked_for_is_not_a_default() -> None:
    call = Overrides({"max_tokens": 7}, {}, ()).applied(message(max_tokens=512))
    assert call.foreign is not None
    assert json.loads(call.foreign.chat_body("vllm", "x"))["max_tokens"] == 512


def test_responses_have_a_name_of_their_own_for_the_limit() -> None:
    call = parse_named(Operation.RESPONSES, b'{"model":"m","input":"x"}')
    body = json.loads(Overrides({"max_tokens": 7, "temperature": 0}, {}, ()).applied(call).body)
    assert body == {"model": "m", "input": "x", "max_output_tokens": 7, "temperature": 0}


def test_forms_and_counting_are_left_alone() -> None:
    overrides = Overrides({"x": 1}, {}, ())
    form = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n--b--\r\n'
    call = parse_form(Operation.TRANSCRIPTION, form, "multipart/form-data; boundary=b")
    assert overrides.applied(call) is call
    call = parse_named(Operation.TOKENIZE, b'{"model":"m","prompt":"x"}')
    assert overrides.applied(call) is call


CONTENT = st.none() | st.text(max_size=3) | st.lists(st.just({"type": "text", "text": "t"}), max_size=2)
ROLES = st.sampled_from(["system", "developer", "user", "assistant", "tool"])


@given(
    st.lists(st.builds(lambda role, content: {"role": role, "content": content}, ROLES, CONTENT), min_size=1),
    st.sampled_from(["first", "user"]),
)
def test_nothing_that_was_said_is_lost(messages: list[dict[str, Any]], system: Literal["first", "user"]) -> None:
    out = sent(Overrides({}, {}, (), system, "system"), messages=messages)["messages"]
    assert said(out) == said(messages)
    assert all(item["role"] != "system" for item in out[1 if system == "first" else 0 :])


def said(messages: list[dict[str, Any]]) -> int:
    return sum(text_length(item["content"]) for item in messages)


def text_length(content: Any) -> int:
    """Characters, without the line ends that join."""
    texts = [content or ""] if not isinstance(content, list) else [part["text"] for part in content]
    return sum(len(text.replace("\n", "")) for text in texts)
