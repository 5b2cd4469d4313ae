import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.domain.calls import Call, Operation
from appliance.errors import GatewayError
from appliance.wire.openai_request import _all_numbers, _checked_call, _sound_call, parse_call
from appliance.wire.outgoing import outgoing_body

OPENAI = [Operation.CHAT, Operation.COMPLETION, Operation.EMBEDDING]
CHAT, COMPLETION, EMBEDDING = OPENAI
HELLO = [{"role": "user", "content": "Hi"}]


def chat(**fields: Any) -> Call:
    return parse_call(CHAT, json.dumps({"model": "m", "messages": HELLO} | fields).encode())


def refusal(operation: Operation, body: Any) -> tuple[str, str | None]:
    with pytest.raises(GatewayError) as caught:
        parse_call(operation, body if isinstance(body, bytes) else json.dumps(body).encode())
    assert caught.value.row.status == {"missing_required_parameter": 400, "invalid_payload": 422}[caught.value.code]
    return caught.value.code, caught.value.param


def test_a_call_keeps_the_body_and_what_we_need_to_know() -> None:
    body = b'{"model":"m","messages":[{"role":"user"}],"stream":true,"stream_options":{"include_usage":true}}'
    assert parse_call(CHAT, body) == Call(CHAT, "m", body, stream=True, wants_usage=True)


@pytest.mark.parametrize("value", [None, "", []])
@pytest.mark.parametrize(
    ("operation", "field"),
    [(CHAT, "model"), (CHAT, "messages"), (COMPLETION, "prompt"), (EMBEDDING, "input"), (EMBEDDING, "model")],
)
def test_an_absent_null_or_empty_required_field_is_400(operation: Operation, field: str, value: object) -> None:
    body: dict[str, Any] = {"model": "m", "messages": HELLO, "prompt": "x", "input": "x"}
    assert refusal(operation, body | {field: value}) == ("missing_required_parameter", field)
    del body[field]
    assert refusal(operation, body) == ("missing_required_parameter", field)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no",
        b"[]",
        b'"x"',
        b"null",
        b'{"model":"m"',
        b'{"model":"m"} x',
        b'{"model":NaN}',
        b'{"model":"m","x":NaN}',
        b'{"model":"\\ud800"}',
        b'{"model":"m","x":"\xff"}',
        b"[" * 100_000,
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_no_json_object_is_422_and_never_a_crash(body: bytes) -> None:
    assert refusal(CHAT, body) == ("invalid_payload", None)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 5}, "model"),
        ({"model": {"a": 1}}, "model"),
        ({"model": "m" * 513}, "model"),
        ({"messages": "x"}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": [*HELLO, 5]}, "messages[1]"),
        ({"messages": [*HELLO, *HELLO, {"role": "robot"}]}, "messages[2].role"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": 5}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": {}}]}, "messages[0].content"),
        ({"stream": "yes"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": "5"}, "max_completion_tokens"),
        ({"stream": True, "stream_options": []}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"request_id": "a b"}, "request_id"),
        ({"request_id": ""}, "request_id"),
        ({"request_id": "x" * 129}, "request_id"),
        ({"request_id": "x\n"}, "request_id"),
        ({"request_id": 5}, "request_id"),
    ],
)
def test_a_wrong_field_is_422_and_named_by_its_path(fields: dict[str, Any], param: str) -> None:
    assert refusal(CHAT, {"model": "m", "messages": HELLO} | fields) == ("invalid_payload", param)


def test_the_message_says_what_was_expected() -> None:
    with pytest.raises(GatewayError, match=r"'messages\[0\]\.role' must be one of system, developer, user"):
        chat(messages=[{"role": "robot"}])


@pytest.mark.parametrize("value", ["x", ["x", "y"], [1, 2], [[1], [2, 3]]])
@pytest.mark.parametrize(("operation", "field"), [(COMPLETION, "prompt"), (EMBEDDING, "input")])
def test_text_is_a_string_or_strings_or_tokens(operation: Operation, field: str, value: object) -> None:
    assert parse_call(operation, json.dumps({"model": "m", field: value}).encode()).model == "m"


@pytest.mark.parametrize(
    ("value", "param"),
    [
        (5, "input"),
        ({}, "input"),
        ([{}], "input"),
        ([None], "input"),
        (["a", 1], "input[1]"),
        ([[1], ["a"]], "input[1][0]"),
    ],
)
def test_other_text_is_422(value: object, param: str) -> None:
    assert refusal(EMBEDDING, {"model": "m", "input": value}) == ("invalid_payload", param)


def test_unknown_members_and_nulls_never_fail() -> None:
    call = chat(
        grammar={"a": [1]}, temperature=None, max_tokens=None, stream=None, stream_options=None, request_id=None
    )
    assert not call.stream
    assert parse_call(EMBEDDING, b'{"model":"m","input":"x","stream":"?","temperature":9}').stream is False


def test_limits_of_a_range_are_inside_it() -> None:
    assert chat(temperature=2, top_p=0, max_tokens=0, max_completion_tokens=0).model == "m"


@pytest.mark.parametrize("name", ["model", "mod\\u0065l", "messages", "stream", "stream_options", "request_id"])
@pytest.mark.parametrize("operation", OPENAI)
def test_what_we_act_on_may_be_there_only_once(operation: Operation, name: str) -> None:
    members = {"model": "m", "messages": HELLO, "prompt": "x", "input": "x", "stream": True, "stream_options": {}}
    body = json.dumps(members | {"request_id": "r"})[:-1].encode()
    value = b'"m"' if name.startswith("mod") else b"null"
    assert refusal(operation, body + f', "{name}": '.encode() + value + b"}")[0] == "invalid_payload"


TOKENS: st.SearchStrategy[object] = (
    st.integers(-9, 99) | st.lists(st.integers(0, 9), max_size=2) | st.sampled_from([1.5, None, "1", [[1]], {}])
)


@given(st.lists(TOKENS, max_size=6), st.sampled_from([None, 1]))
def test_numbers_are_told_at_once_from_what_is_none(items: list[object], indent: int | None) -> None:
    numbers = all(isinstance(item, int) for item in items)
    arrays = all(isinstance(item, list) and all(isinstance(inner, int) for inner in item) for item in items)
    assert _all_numbers(json.dumps(items, indent=indent).encode()) == (numbers or arrays)


def test_a_million_tokens_are_a_prompt() -> None:
    for tokens in ("[" + "12," * 10**6 + "3]", "[" + "[12]," * 10**5 + "[3,4]]"):
        assert parse_call(EMBEDDING, f'{{"model":"m","input":{tokens}}}'.encode()).model == "m"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = ["model", "messages", "prompt", "input", "stream", "stream_options", "temperature", "max_tokens", "request_id"]


@given(st.sampled_from(OPENAI), st.dictionaries(st.sampled_from(NAMES), JSON) | JSON)
def test_any_json_is_a_call_or_a_typed_refusal(operation: Operation, value: object) -> None:
    with contextlib.suppress(GatewayError):
        call = parse_call(operation, json.dumps(value).encode())
        assert json.loads(outgoing_body(call, "x"))["model"] == "x"


@given(st.sampled_from(OPENAI), st.binary())
def test_any_bytes_are_a_typed_refusal(operation: Operation, body: bytes) -> None:
    with pytest.raises(GatewayError):
        parse_call(operation, body)


ODD: st.SearchStrategy[object] = (
    st.sampled_from(["m", "r", "user", "", None, True, 0, 1, 2, 2.5, -1, 2**70, [], {}, [1], ["x"], [[1]], HELLO])
    | st.builds(lambda role, content: [{"role": role, "content": content}], st.sampled_from(["user", "x", 5]), JSON)
    | st.sampled_from([{"include_usage": value} for value in (True, False, None, 1)])
    | JSON
)


@given(
    st.sampled_from(OPENAI),
    st.lists(st.tuples(st.sampled_from([*NAMES, "top_p", "max_completion_tokens", "x"]), ODD)),
    st.booleans(),
)
def test_the_quick_reading_is_never_milder_or_other_than_the_careful_one(
    operation: Operation, members: list[tuple[str, object]], ascii_only: bool
) -> None:
    members = [("model", "m"), ("messages", HELLO), ("prompt", "x"), ("input", ["x"]), *members]
    pairs = [f"{json.dumps(name)}:{json.dumps(value, ensure_ascii=ascii_only)}" for name, value in members]
    body = f"{{{','.join(pairs)}}}".encode("utf-8", "surrogatepass")
    quick, careful = (outcome(reading, operation, body) for reading in (_sound_call, _checked_call))
    assert quick is None or quick == careful


def outcome(reading: Callable[[Operation, bytes], Call | None], operation: Operation, body: bytes) -> object:
    """The call or the refusal; None when the reading leaves it to another."""
    try:
        return reading(operation, body)
    except GatewayError as error:
        return error.code, error.message, error.param
    except ValueError:
        return None


@given(
    st.sampled_from(OPENAI),
    st.dictionaries(st.sampled_from([*NAMES[5:], "stream", "x"]), JSON | st.booleans() | st.sampled_from([{}, "r"])),
    st.sampled_from(["", "m", "other"]),
    st.sampled_from([None, 1]),
)
def test_what_is_appended_is_what_would_have_been_written_anew(
    operation: Operation, members: dict[str, object], model: str, indent: int | None
) -> None:
    body = json.dumps({"model": "m", "messages": HELLO, "prompt": "x", "input": "x"} | members, indent=indent) + " \n"
    with contextlib.suppress(GatewayError):
        call = parse_call(operation, body.encode())
        anew = outgoing_body(replace(call, appendable=False), model)
        assert json.loads(outgoing_body(call, model)) == json.loads(anew)


@pytest.mark.parametrize("name", ["request_id", "stream_options"])
@pytest.mark.parametrize("written", ["{}", "\\u00{:x}{}"])
def test_nothing_is_appended_beside_a_member_however_its_name_is_written(name: str, written: str) -> None:
    key = name if written == "{}" else written.format(ord(name[0]), name[1:])
    body = f'{{"model":"m","messages":[{{"role":"user"}}],"stream":true,"{key}":null}}'.encode()
    call = parse_call(CHAT, body)
    assert not call.appendable
    assert json.loads(outgoing_body(call, ""))["stream_options"] == {"include_usage": True}


def test_an_ordinary_body_is_read_once() -> None:
    assert _sound_call(CHAT, b'{"model":"m","messages":[{"role":"user","content":null}],"stream":true}')


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        ({}, None),
        ({"n": 3}, None),
        ({"max_tokens": 100}, 100),
        ({"max_completion_tokens": 70}, 70),
        ({"max_tokens": 100, "max_completion_tokens": 70, "n": 2}, 200),
        ({"max_tokens": 100, "n": 1}, 100),
        ({"max_tokens": 100, "n": 0}, 100),
        ({"max_tokens": 100, "n": "many"}, 100),
        ({"max_tokens": 0}, 0),
    ],
)
def test_how_much_output_a_request_allows(fields: dict[str, Any], most: int | None) -> None:
    for careful in ({}, {"request_id": None}):
        assert chat(**fields, **careful).most_output == most


def test_messages_of_text_alone_are_known_as_such() -> None:
    picture = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    for content, plain in (("hello", True), (picture, False)):
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": content}]}).encode()
        assert parse_call(Operation.CHAT, body).plain is plain
