import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolViolation
from appliance.translate.gemini_stream import RepairedChunks
from tests.fakes.messages import chunks_of, converted


def chunk(delta: dict[str, Any], finish: str | None = None, **members: Any) -> bytes:
    choice = {"index": 0, "delta": {"role": "assistant"} | delta, "finish_reason": finish}
    value = {"choices": [choice], "model": "gemini-3-flash", "object": "chat.completion.chunk", **members}
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def call(name: str, **members: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": "{}"}, **members}


USAGE = {"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9}
DONE = b"data: [DONE]\n\n"
SIGNED = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
WHOLE = b"".join(
    [
        chunk({"content": "Grüß"}, usage=USAGE | {"completion_tokens": 1}, id="abc", created=5),
        chunk({"content": " Gott"}, id="abc", created=5),
        chunk({"tool_calls": [call("f", **SIGNED), call("g", id="own")]}, id="abc", created=5),
        chunk({"tool_calls": [call("h")]}, "stop", usage=USAGE, id="abc", created=5),
        DONE,
    ]
)


def convert(*pieces: bytes) -> bytes:
    return converted(RepairedChunks(1_700_000_000), *pieces)


def test_a_whole_stream() -> None:
    raw = convert(WHOLE)
    assert raw.endswith(DONE)
    found = chunks_of(raw)
    deltas = [one["choices"][0]["delta"] for one in found[:-1]]
    assert [delta.get("role") for delta in deltas] == ["assistant", None, None, None]
    calls = [part for delta in deltas for part in delta.get("tool_calls", [])]
    assert [part["index"] for part in calls] == [0, 1, 2]
    assert [part["id"] for part in calls] == ["call_0", "own", "call_2"]
    assert calls[0]["extra_content"] == SIGNED["extra_content"]
    assert [one["choices"][0]["finish_reason"] for one in found[:-1]] == [None, None, None, "tool_calls"]
    assert all("usage" not in one for one in found[:-1])
    assert (found[-1]["choices"], found[-1]["usage"]) == ([], USAGE)
    assert {one["id"] for one in found} == {"abc"}


@given(st.lists(st.integers(0, len(WHOLE)), max_size=12))
def test_cut_anywhere_it_is_the_same(places: list[int]) -> None:
    ends = [0, *sorted(places), len(WHOLE)]
    assert convert(*(WHOLE[a:b] for a, b in itertools.pairwise(ends))) == convert(WHOLE)


def test_byte_by_byte_it_is_the_same() -> None:
    assert convert(*(WHOLE[at : at + 1] for at in range(len(WHOLE)))) == convert(WHOLE)


def test_what_is_left_out_is_filled_in_and_stays_the_same() -> None:
    first, second = chunks_of(convert(chunk({"content": "a"}) + chunk({"content": "b"})))
    assert first["id"] == second["id"]
    assert first["created"] == 1_700_000_000


def test_a_part_without_a_name_goes_on_with_the_last_call() -> None:
    raw = convert(
        chunk({"tool_calls": [{"function": {"name": "f", "arguments": '{"x'}}]})
        + chunk({"tool_calls": [{"function": {"arguments": '":1}'}}]})
    )
    parts = [one["choices"][0]["delta"]["tool_calls"][0] for one in chunks_of(raw)]
    assert [part["index"] for part in parts] == [0, 0]
    assert "id" not in parts[1]


def test_a_stop_without_calls_is_a_stop() -> None:
    assert chunks_of(convert(chunk({"content": "x"}, "stop")))[0]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("wrapped", [True, False])
def test_an_error_is_a_chunk_that_clients_raise(*, wrapped: bool) -> None:
    failed: Any = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
    raw = b"data: " + json.dumps([failed] if wrapped else failed).encode() + b"\n\n"
    assert chunks_of(convert(raw)) == [
        {"error": {"message": "overloaded", "type": "unavailable", "param": None, "code": "UNAVAILABLE"}}
    ]


def test_a_chunk_without_choices_says_nothing() -> None:
    assert convert(b'data: {"choices":[],"model":"m"}\n\n') == b""
    assert convert(b'data: {"model":"m"}\n\n') == b""


@pytest.mark.parametrize("data", [b"", b"5", b"x", b'{"a', b"[" * 10**5])
def test_what_is_no_chunk_is_a_violation(data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        RepairedChunks(0).event(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
CHOICE = st.fixed_dictionaries(
    {},
    optional={
        "index": st.integers(0, 2) | JSON,
        "delta": JSON | st.fixed_dictionaries({"tool_calls": JSON | st.lists(JSON, max_size=2)}),
    },
)


@given(
    st.fixed_dictionaries(
        {}, optional={"choices": JSON | st.lists(CHOICE | JSON, max_size=3), "usage": JSON, "id": JSON}
    )
)
def test_any_json_is_a_chunk_or_a_violation(value: object) -> None:
    codec = RepairedChunks(0)
    out = codec.event(json.dumps(value).encode()) + codec.event(b"[DONE]")
    assert out.endswith(DONE)
