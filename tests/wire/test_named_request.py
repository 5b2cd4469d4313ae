import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.domain.calls import Call, Operation
from appliance.errors import GatewayError
from appliance.wire.named_request import _NEEDS, parse_named

GOOD: dict[str, Any] = {"model": "m", "input": "x", "query": "q", "documents": ["d"], "prompt": "p", "tokens": [1]}


def parse(operation: Operation, body: object) -> Call:
    return parse_named(operation, json.dumps(body).encode())


def refusal(operation: Operation, body: object) -> tuple[str, str | None]:
    with pytest.raises(GatewayError) as caught:
        parse(operation, body)
    return caught.value.code, caught.value.param


@pytest.mark.parametrize("operation", _NEEDS)
def test_what_is_needed_is_enough_and_the_body_is_kept(operation: Operation) -> None:
    body = json.dumps(GOOD | {"anything": [1], "stream": True, "request_id": "r"}).encode()
    expected = Call(operation, "m", body, stream=True, request_id="r")
    assert parse_named(operation, body) == expected
    assert not parse_named(operation, body).appendable
    assert parse(operation, GOOD).appendable


@pytest.mark.parametrize(("operation", "name"), [(key, need.name) for key, needs in _NEEDS.items() for need in needs])
@pytest.mark.parametrize("value", [None, "", []])
def test_what_is_needed_and_not_there_is_400(operation: Operation, name: str, value: object) -> None:
    body = {key: given for key, given in GOOD.items() if key in {"model", *[need.name for need in _NEEDS[operation]]}}
    assert refusal(operation, body | {name: value}) == ("missing_required_parameter", name)
    del body[name]
    assert refusal(operation, body) == ("missing_required_parameter", name)


@pytest.mark.parametrize(("operation", "name"), [(key, need.name) for key, needs in _NEEDS.items() for need in needs])
def test_what_is_of_another_kind_is_422(operation: Operation, name: str) -> None:
    assert refusal(operation, GOOD | {name: 5}) == ("invalid_payload", name)
    assert refusal(operation, GOOD | {name: True}) == ("invalid_payload", name)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stream": "yes"}, "stream"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": "x"}, "top_p"),
        ({"max_output_tokens": -1}, "max_output_tokens"),
        ({"request_id": "a b"}, "request_id"),
        ({"model": 5}, "model"),
    ],
)
def test_a_wrong_field_is_422_and_named(fields: dict[str, Any], param: str) -> None:
    assert refusal(Operation.RESPONSES, GOOD | fields) == ("invalid_payload", param)


@pytest.mark.parametrize("name", ["prompt", "conversation", "previous_response_id"])
def test_a_response_can_go_on_from_something_else(name: str) -> None:
    assert parse(Operation.RESPONSES, {"model": "m", name: "x"}).model == "m"


@given(st.sampled_from(list(_NEEDS)), st.binary() | st.text().map(str.encode))
def test_any_bytes_are_a_call_or_a_typed_refusal(operation: Operation, body: bytes) -> None:
    with contextlib.suppress(GatewayError):
        parse_named(operation, body)
