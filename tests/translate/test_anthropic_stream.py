import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolViolation
from appliance.translate.anthropic_stream import ChatFromMessages
from tests.fakes.messages import chunks_of, converted


def events(*values: dict[str, Any]) -> bytes:
    return b"".join(b"event: %s\ndata: %s\n\n" % (v["type"].encode(), json.dumps(v).encode()) for v in values)


def start(**usage: int) -> dict[str, Any]:
    return {"type": "message_start", "message": {"id": "msg_1", "model": "claude-1", "content": [], "usage": usage}}


def block(index: int, **content: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": content}


def delta(index: int, kind: str, **content: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **content}}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def end(reason: str, **usage: int) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage}


WHOLE = events(
    start(input_tokens=9, output_tokens=1, cache_read_input_tokens=3),
    {"type": "ping"},
    block(0, type="thinking", thinking="", signature=""),
    delta(0, "thinking_delta", thinking="hm"),
    delta(0, "signature_delta", signature="c2ln"),
    stop(0),
    block(1, type="text", text=""),
    delta(1, "text_delta", text="Grüß"),
    delta(1, "text_delta", text=" Gott"),
    stop(1),
    block(2, type="tool_use", id="toolu_1", name="f", input={}),
    delta(2, "input_json_delta", partial_json=""),
    delta(2, "input_json_delta", partial_json='{"x":'),
    delta(2, "input_json_delta", partial_json="1}"),
    stop(2),
    block(3, type="tool_use", id="toolu_2", name="g", input={"y": 2}),
    delta(3, "input_json_delta", partial_json='{"y":2}'),
    stop(3),
    end("tool_use", output_tokens=12),
    {"type": "message_stop"},
)


def convert(*pieces: bytes) -> bytes:
    return converted(ChatFromMessages(1_700_000_000), *pieces)


def test_a_whole_conversation_event_by_event() -> None:
    raw = convert(WHOLE)
    assert raw.endswith(b"data: [DONE]\n\n")
    found = chunks_of(raw)
    assert all(chunk["id"] == "msg_1" and chunk["model"] == "claude-1" for chunk in found)
    assert [chunk["choices"][0]["delta"] for chunk in found[:-1]] == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "hm", "reasoning": "hm"},
        {"content": "Grüß"},
        {"content": " Gott"},
        {"tool_calls": [{"index": 0, "id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"x":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]},
        {
            "tool_calls": [
                {"index": 1, "id": "toolu_2", "type": "function", "function": {"name": "g", "arguments": '{"y": 2}'}}
            ]
        },
        {},
    ]
    finishes = [chunk["choices"][0]["finish_reason"] for chunk in found[:-1]]
    assert finishes == [None] * 8 + ["tool_calls"]
    assert found[-1]["choices"] == []
    assert found[-1]["usage"] == {
        "prompt_tokens": 12,
        "completion_tokens": 12,
        "total_tokens": 24,
        "prompt_tokens_details": {"cached_tokens": 3},
    }


@given(st.lists(st.integers(0, len(WHOLE)), max_size=12))
def test_cut_anywhere_it_is_the_same(places: list[int]) -> None:
    ends = [0, *sorted(places), len(WHOLE)]
    assert convert(*(WHOLE[a:b] for a, b in itertools.pairwise(ends))) == convert(WHOLE)


def test_byte_by_byte_it_is_the_same() -> None:
    assert convert(*(WHOLE[at : at + 1] for at in range(len(WHOLE)))) == convert(WHOLE)


def test_an_error_is_a_chunk_that_clients_raise() -> None:
    failed = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    last = chunks_of(convert(events(start(), failed)))[-1]
    assert last["error"]["message"] == "Overloaded"
    assert last["error"]["type"] == "overloaded_error"


def test_without_its_last_event_there_is_no_mark_of_the_end() -> None:
    cut_short = WHOLE[: WHOLE.rindex(b"event: message_stop")]
    assert b"[DONE]" not in convert(cut_short)


def test_events_that_are_not_invented_yet_are_passed_over() -> None:
    assert convert(events({"type": "new"}, block(0, type="new"), delta(0, "new_delta", x=1), stop(0))) == b""


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"x", b'{"type":5}', b"[" * 10**5])
def test_what_is_no_event_is_a_violation(data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        ChatFromMessages(0).event(data)
