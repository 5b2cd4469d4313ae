import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.wire.chunk import peek
from appliance.wire.token_shape import TokenShape, shape_of


def data(choice: dict[str, Any], **members: Any) -> bytes:
    return json.dumps({"id": "c1", "created": 17, "choices": [{"index": 0} | choice]} | members).encode()


def event(text: bytes, key: bytes = b"content") -> bytes:
    return b'data: {"model":"m","choices":[{"delta":{"%b":"%b"},"index":2,"finish_reason":null}]}\n\n' % (key, text)


def shape(event: bytes) -> TokenShape:
    found = shape_of(event[6:-2], peek(event[6:-2]))
    assert found
    return found


def test_events_that_differ_in_the_text_only_are_counted_and_empty_ones_are_not() -> None:
    known = shape(event(b"Hi"))
    assert known.index == 2
    assert known.tokens(event(b"Hi")) == 1
    assert known.tokens(event(b"a") + event("é🙂".encode()) + event(rb"\"\\\u00e9\ud83d\ude42\n")) == 3
    assert known.tokens(event(b"a") + event(b"") + event(b"b")) == 2


def test_a_part_of_a_tool_call_is_content_even_when_it_is_empty() -> None:
    call = b'data: {"choices":[{"delta":{"tool_calls":[{"index":1,"function":{"arguments":"%b"}}]}}]}\n\n'
    assert shape(call % b"{").tokens(call % b"" + call % rb"\"a\":1}") == 2


def test_two_holes_are_one_too_many() -> None:
    both = b'data: {"choices":[{"delta":{"reasoning":"%b","reasoning_content":"%b"}}]}\n\n'
    known = shape(both % (b"a", b"a"))
    assert known.tokens(both % (b"b", b"b")) is None
    # Text that is empty in one place is content in the other.
    assert known.tokens(both % (b"a", b"")) == 1


@pytest.mark.parametrize(
    "other",
    [
        event(b"a").replace(b"null", b'"stop"'),
        event(b"a").replace(b'"index":2', b'"index":1'),
        event(b"a").replace(b'"m"', b'"n"'),
        event(b'a"},"index":2,"finish_reason":"stop","x":{"y":"'),
        event(b"a\n\ndata: b"),
        event(b"a\\"),
        event(b"\\x"),
        event(b"\\u12"),
        event(b"\\ud800"),
        event(b"a\0"),
        event(b"a")[:-1],
        event(b"a") + b": ping\n\n",
        b"\n" + event(b"a"),
        b"data: [DONE]\n\n",
        b"",
    ],
)
def test_anything_else_is_not_of_the_shape(other: bytes) -> None:
    assert shape(event(b"Hi")).tokens(other) is None
    assert shape(event(b"Hi")).tokens(event(b"a") + other + event(b"b")) is None or other == b""


def test_an_escape_cannot_reach_into_the_next_text() -> None:
    assert shape(event(b"Hi")).tokens(event(b"\\") + event(b"n")) is None
    assert shape(event(b"Hi")).tokens(event(b"\\u00") + event(b"e9")) is None


@pytest.mark.parametrize(
    "other",
    [
        data({"delta": {"role": "assistant", "content": ""}}),
        data({"delta": {"content": "x"}, "finish_reason": "stop"}),
        data({"delta": {"content": "x"}}, usage={"prompt_tokens": 1}),
        data({"delta": {"content": "x"}}, error="x"),
        b'{"choices":[{"text":"a","index":0},{"text":"b","index":1}]}',
        b'{"choices":[{"delta":\n{"content":"x"}}]}',
        b'{"choices":[{"delta":{"audio":{"id":"x"}}}]}',
    ],
)
def test_what_is_no_ordinary_token_has_no_shape(other: bytes) -> None:
    assert shape_of(other, peek(other)) is None


NASTY = st.sampled_from(
    ['"finish_reason":"stop"', '"usage":{}', "\n\ndata: ", "\\", '"', "[DONE]", '"content":"', "\u2028", "\ud800"]
)
TEXT = st.lists(st.text(max_size=4) | NASTY, max_size=3).map("".join)
CHOICES = st.sampled_from(
    [
        lambda text: {"delta": {"content": text}, "finish_reason": None},
        lambda text: {"text": text},
        lambda text: {"delta": {"content": None, "reasoning_content": text}},
        lambda text: {"delta": {"content": "", "reasoning": text}, "logprobs": {"content": [{"token": text}]}},
        lambda text: {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}},
        lambda text: {"delta": {'x"content': "y", "content": text}, "content": text},
    ]
)


@given(CHOICES, st.lists(TEXT, min_size=2), st.sampled_from([(",", ":"), (", ", ": ")]), st.booleans())
def test_what_is_of_a_shape_says_what_looking_at_it_says(
    choice: Any, texts: list[str], separators: tuple[str, str], ascii_only: bool
) -> None:
    def encode(text: str) -> bytes:
        whole = {"choices": [choice(text)], "usage": None}
        return json.dumps(whole, separators=separators, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")

    bodies = [encode(text) for text in texts]
    try:
        chunks = [peek(body) for body in bodies]
    except Exception:  # noqa: BLE001 - half a surrogate pair; such a run must not be of any shape
        chunks = []
    first = next((pair for pair in zip(bodies, chunks, strict=False) if shape_of(*pair)), None)
    if first is None:
        return
    known = shape_of(*first)
    tokens = known and known.tokens(b"".join(b"data: " + body + b"\n\n" for body in bodies))
    if tokens is not None:
        assert tokens == sum(chunk.pieces for chunk in chunks)
        assert {(chunk.open, chunk.ended, chunk.usage, chunk.error) for chunk in chunks} == {((0,), (), None, False)}
