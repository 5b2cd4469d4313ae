import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.domain.odd_members import ODD_MEMBERS
from appliance.wire.run_together import answer_together, is_odd, makes_calls, ordinary_answer, run_together
from appliance.wire.texts import answer_object, answer_texts
from tests.fakes.spelling import spelt

TEXTS = st.text(alphabet='ab"\\/\n\té€🎉{}[]:,\u0000', max_size=12)
VALUES: st.SearchStrategy[Any] = st.recursive(
    TEXTS | st.none() | st.integers(0, 99),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def together(body: bytes) -> str | None:
    answer = ordinary_answer(body)
    return None if answer is None else answer_together(answer)


def odd(body: bytes) -> bool:
    run = run_together(body)
    assert run is not None
    if found := is_odd(body, run):
        assert any(member in run for member in ODD_MEMBERS), "or nobody would have asked"
    return found


def strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for name, inner in value.items() for text in (name, *strings(inner))]
    return [text for inner in value for text in strings(inner)] if isinstance(value, list) else []


@given(value=VALUES, data=st.data())
def test_every_string_is_there_in_one_piece_between_quotes(value: Any, data: st.DataObject) -> None:
    run = run_together(spelt(value, data))
    assert run is not None
    for text in strings(value):
        assert f'"{text}"' in run


def test_a_body_without_escapes_is_itself() -> None:
    body = '{"a": "grün",\n "b": 1}'
    assert run_together(body.encode()) == body


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":"\xff"}',  # not UTF-8
        b'{"a":"\\u00e4\xff"}',
        b'{"a":"\\ud800"}',  # half a character
        b'{"a":"\\n",\n"b":1}',  # lines between the members
    ],
)
def test_where_it_is_not_certain_nothing_is_said(body: bytes) -> None:
    assert run_together(body) is None


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": [1, 2]},
        {"prompt": [[1, 2]]},
        {"input": [[7]]},
        {"input": 7},
        {"prompt": None},
        {"prompt_token_ids": [1]},
        {"prompt_embeds": "AAAA"},
        {"messages": [{"tool_calls": [{"function": {"arguments": '{"a":"b\\u0040c"}'}}]}]},
    ],
)
@pytest.mark.parametrize("separators", [(",", ":"), (" , ", " : ")])
def test_a_request_that_may_hold_more_than_text_is_not_answered(
    body: dict[str, Any], separators: tuple[str, str]
) -> None:
    written = json.dumps({"model": "m", **body}, separators=separators).encode()
    assert odd(written)
    assert odd(written.replace(b"prompt", b"pr\\u006fmpt").replace(b"input", b"in\\u0070ut"))


def of_parts(*contents: list[dict[str, Any]]) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": content} for content in contents]}


A, B = {"type": "text", "text": "a\n]"}, {"text": 'b"', "type": "text"}
PICTURE = {"type": "image_url", "image_url": {"url": "data:,"}}


@pytest.mark.parametrize("separators", [(",", ":"), (" , ", " : ")])
def test_texts_in_several_parts_of_a_message_are_left_to_the_close_look(separators: tuple[str, str]) -> None:
    for alone in (of_parts([A]), of_parts([B], [A], [PICTURE]), of_parts([PICTURE, A])):
        assert not odd(json.dumps(alone, separators=separators).encode())
    for several in (of_parts([A, B]), of_parts([A], [B, A]), of_parts([A, PICTURE, B]), of_parts([A | {"x": "]"}, B])):
        written = json.dumps(several, separators=separators).encode()
        assert odd(written)
        assert odd(written.replace(b'"text"', b'"te\\u0078t"'))


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "hi", "prompt_cache_key": "x"},
        {"prompt": ["hi", "ho"]},
        {"input": "hi"},
        {"input": [{"role": "user", "content": "hi"}]},
        {"messages": [{"role": "user", "content": 'say "hi"\n'}]},
        {"messages": [{"tool_calls": [{"function": {"arguments": '{"a":"b"}'}}]}]},
    ],
)
def test_a_request_that_holds_text_only_is(body: dict[str, Any]) -> None:
    for separators in ((",", ":"), (" , ", " : ")):
        assert not odd(json.dumps({"model": "m", **body}, separators=separators).encode())


VLLM = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hello",
                "refusal": None,
                "annotations": None,
                "audio": None,
                "function_call": None,
                "tool_calls": [],
                "reasoning": None,
            },
            "logprobs": None,
            "finish_reason": "stop",
            "stop_reason": None,
            "token_ids": None,
        }
    ],
    "service_tier": None,
    "system_fingerprint": None,
    "usage": {"prompt_tokens": 1},
    "prompt_logprobs": None,
    "prompt_token_ids": None,
    "kv_transfer_params": None,
}
LLAMA = {
    "choices": [{"finish_reason": "stop", "index": 0, "message": {"role": "assistant", "content": "Hello"}}],
    "created": 1,
    "model": "m",
    "system_fingerprint": "b1",
    "object": "chat.completion",
    "usage": {},
    "id": "x",
    "timings": {"prompt_ms": 0.1234567890123456},
}
CALLS = {
    "choices": [
        {
            "message": {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
            }
        }
    ]
}
COMPLETION = {"choices": [{"index": 0, "text": "Hello", "logprobs": None, "finish_reason": "length"}]}


@pytest.mark.parametrize("answer", [VLLM, LLAMA, CALLS, COMPLETION, {"choices": []}])
def test_the_texts_of_an_ordinary_answer_are_all_there_and_its_figures_are_not(answer: dict[str, Any]) -> None:
    run = together(json.dumps(answer).encode())
    assert run is not None
    assert "0.1234567890123456" not in run
    assert "chatcmpl" not in run
    found = answer_object(json.dumps(answer).encode())
    assert found is not None
    for text in answer_texts(found, json_content=False):
        assert f'"{text.value}"' in f'"{run}"'


@pytest.mark.parametrize(
    "answer",
    [
        {"choices": [{"message": {"content": "a"}, "logprobs": {"content": []}}]},
        {"choices": [{"message": {"content": "a", "thoughts": "b"}}]},
        {"choices": [{"message": {"content": [{"text": "a"}]}}]},
        {"choices": [{"text": "a"}], "__verbose": {}},
        {"choices": [{"text": "a"}], "error": "a"},
        {"choices": None},
        {"output": []},
        [],
    ],
)
def test_an_answer_with_anything_else_is_not_answered(answer: Any) -> None:
    assert together(json.dumps(answer).encode()) is None


def test_of_several_texts_each_is_by_itself() -> None:
    message = {"content": 'say "a"\n', "reasoning": "b\\", "refusal": "c", "reasoning_content": ""}
    body = {"choices": [{"message": message}, {"text": "d"}, {"text": None}, {"message": None}]}
    assert together(json.dumps(body).encode()) == 'b\\"say "a"\n"c"d'


def test_what_is_there_twice_counts_as_its_readers_take_it() -> None:
    for body in (b'{"choices":[{"text":"a"}],"choices":[{"text":"b"}]}', b'{"choices":[{"text":"a","text":"b"}]}'):
        assert together(body) == "b"
        assert [text.value for text in answer_texts(answer_object(body) or {}, json_content=False)] == ["b"]


def test_calls_are_known() -> None:
    for answer, calls in ((CALLS, True), (VLLM, False), (COMPLETION, False)):
        read = ordinary_answer(json.dumps(answer).encode())
        assert read is not None
        assert makes_calls(read) is calls


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"choices":[{"text":"\xff"}]}', b"[" * 5000])
def test_what_is_no_answer_is_not_answered(body: bytes) -> None:
    assert together(body) is None
