import json
from typing import Any

import pytest

from appliance.domain.calls import Usage
from appliance.errors import ProtocolViolation
from appliance.wire.chunk import peek


def delta(**fields: Any) -> bytes:
    return json.dumps({"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}).encode()


@pytest.mark.parametrize(
    "fields",
    [
        {"content": "x"},
        {"reasoning": "x"},
        {"content": None, "reasoning_content": "x"},
        {"tool_calls": [{"index": 0}]},
        {"refusal": "no"},
    ],
)
def test_text_reasoning_and_tool_calls_are_content(fields: dict[str, Any]) -> None:
    chunk = peek(delta(**fields))
    assert chunk.pieces == 1
    assert (chunk.open, chunk.ended) == ((0,), ())


@pytest.mark.parametrize(
    "fields", [{}, {"role": "assistant", "content": ""}, {"role": "assistant", "content": None}, {"tool_calls": []}]
)
def test_an_opening_chunk_brings_no_content(fields: dict[str, Any]) -> None:
    assert peek(delta(**fields)).pieces == 0


def test_a_completion_brings_text() -> None:
    assert peek(b'{"choices":[{"text":"a","index":0},{"text":"b","index":1},{"text":""}]}').pieces == 2


def test_a_finish_reason_finishes() -> None:
    chunk = peek(b'{"choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}')
    assert (chunk.open, chunk.ended) == ((), (1,))
    assert chunk.pieces == 0


def test_the_usage_chunk_is_told_from_usage_beside_content() -> None:
    usage = b'"usage":{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":3}}'
    only = peek(b'{"choices":[],' + usage + b"}")
    assert only.usage_only
    assert only.usage == Usage(9, 4, 3)
    beside = peek(b'{"choices":[{"delta":{"content":"x"}}],' + usage + b"}")
    assert beside.usage == Usage(9, 4, 3)
    assert not beside.usage_only
    assert peek(b'{"choices":[],"usage":null}').usage is None


@pytest.mark.parametrize("noun", ["completion", "output"])
def test_thoughts_are_a_part_of_what_was_made(noun: str) -> None:
    usage = f'"usage":{{"{noun}_tokens":9,"{noun}_tokens_details":{{"reasoning_tokens":6}}}}'
    assert peek(f'{{"choices":[],{usage}}}'.encode()).usage == Usage(0, 9, reasoning=6)
    silent = usage.replace("6", "null")
    assert peek(f'{{"choices":[],{silent}}}'.encode()).usage == Usage(0, 9)


def test_counts_that_an_engine_leaves_out_are_zero() -> None:
    assert peek(b'{"choices":[],"usage":{"prompt_tokens":2,"prompt_tokens_details":null}}').usage == Usage(2)


@pytest.mark.parametrize(
    ("error", "is_error"), [('"x"', True), ('{"message":"x"}', True), ("null", False), ("{}", False)]
)
def test_a_truthy_error_is_an_error(error: str, is_error: bool) -> None:
    assert peek(b'{"error":%s}' % error.encode()).error is is_error


@pytest.mark.parametrize("data", [b"", b"hello", b"[1]", b'{"choices":', b'{"choices":5}', b"[" * 100_000])
def test_what_is_no_chunk_is_a_violation(data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        peek(data)
