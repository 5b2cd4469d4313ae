import json
import math
from typing import Any

import pytest

from appliance.scripted import replies

HELLO = {"model": "m", "messages": [{"role": "user", "content": "hello there"}]}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    },
}


def chunks(plan: replies.Plan) -> list[dict[str, Any]]:
    return [
        json.loads(event.data.removeprefix(b"data: ")) for event in replies.events(plan) if event.data != replies.DONE
    ]


def test_the_same_request_gets_the_same_words() -> None:
    assert replies.whole(replies.plan("chat", HELLO)) == replies.whole(replies.plan("chat", HELLO))


def test_other_words_in_the_prompt_get_another_reply() -> None:
    other = {"messages": [{"role": "user", "content": "good bye"}]}
    assert replies.plan("chat", HELLO).pieces != replies.plan("chat", other).pieces


def test_max_tokens_cuts_the_reply_and_says_so() -> None:
    plan = replies.plan("chat", {**HELLO, "max_tokens": 3})
    assert (len(plan.pieces), plan.finish) == (3, "length")


def test_a_reply_that_nothing_cuts_short_stops_by_itself() -> None:
    plan = replies.plan("chat", {**HELLO, "max_tokens": 1000}, replies.Manner(tokens=7))
    assert (len(plan.pieces), plan.finish) == (7, "stop")


def test_stream_and_plain_reply_say_the_same() -> None:
    plan = replies.plan("chat", HELLO)
    streamed = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks(plan))
    assert streamed == json.loads(replies.whole(plan))["choices"][0]["message"]["content"]


def test_a_stream_ends_with_finish_reason_and_done() -> None:
    plan = replies.plan("chat", HELLO)
    assert chunks(plan)[-1]["choices"][0]["finish_reason"] == "stop"
    assert list(replies.events(plan))[-1].data == replies.DONE


def test_the_usage_chunk_comes_only_when_asked_for() -> None:
    asked = replies.plan("chat", {**HELLO, "stream": True, "stream_options": {"include_usage": True}})
    assert chunks(asked)[-1]["usage"]["completion_tokens"] == len(asked.pieces)
    assert chunks(asked)[-1]["choices"] == []
    assert not any("usage" in chunk for chunk in chunks(replies.plan("chat", HELLO)))


def test_a_completion_answers_in_text_chunks() -> None:
    plan = replies.plan("completion", {"prompt": "once upon", "max_tokens": 2})
    texts = [chunk["choices"][0]["text"] for chunk in chunks(plan)]
    assert "".join(texts) == json.loads(replies.whole(plan))["choices"][0]["text"] == "".join(plan.pieces)


def test_a_request_with_tools_gets_a_tool_call_with_arguments_that_fit() -> None:
    plan = replies.plan("chat", {**HELLO, "tools": [WEATHER]})
    choice = json.loads(replies.whole(plan))["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    arguments = json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"])
    assert isinstance(arguments["city"], str)
    assert isinstance(arguments["days"], int)


def test_a_streamed_tool_call_names_the_function_once_and_sends_arguments_in_pieces() -> None:
    plan = replies.plan("chat", {**HELLO, "tools": [WEATHER]})
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks(plan)]
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert [call["function"].get("name") for call in calls if "name" in call["function"]] == ["weather"]
    assert set(json.loads("".join(call["function"]["arguments"] for call in calls))) == {"city", "days"}


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [WEATHER], "tool_choice": "none"},
        {"tools": []},
        {"tools": [WEATHER], "messages": [{"role": "tool", "tool_call_id": "x", "content": "sunny"}]},
    ],
)
def test_words_are_the_answer_when_no_tool_is_to_be_called(more: dict[str, Any]) -> None:
    assert replies.plan("chat", {**HELLO, **more}).calls == ()


def test_content_parts_count_as_prompt() -> None:
    parts = [{"type": "text", "text": "one two"}, {"type": "text", "text": "three"}]
    assert replies.plan("chat", {"messages": [{"role": "user", "content": parts}]}).prompt_tokens == 3


@pytest.mark.parametrize("given", ["a", ["a", "b"], [1, 2, 3], [[1, 2], [3]]])
def test_each_input_gets_one_vector_of_length_one(given: object) -> None:
    data = json.loads(replies.embeddings({"input": given}))["data"]
    expected = len(given) if isinstance(given, list) and not isinstance(given[0], int) else 1
    assert [item["index"] for item in data] == list(range(expected))
    assert all(math.isclose(math.hypot(*item["embedding"]), 1, abs_tol=1e-3) for item in data)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"'])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(replies.BadRequest):
        replies.parse(body)


def test_missing_input_is_refused_by_name() -> None:
    with pytest.raises(replies.BadRequest, match="messages"):
        replies.plan("chat", {})
    with pytest.raises(replies.BadRequest, match="prompt"):
        replies.plan("completion", {})
    with pytest.raises(replies.BadRequest, match="input"):
        replies.embeddings({})


CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
BOTH = {**HELLO, "tools": [WEATHER, CLOCK], "stream": True}


def calls_of(request: dict[str, Any], most: int) -> list[str]:
    plan = replies.plan("chat", request, replies.Manner(calls=most))
    message = json.loads(replies.whole(plan))["choices"][0]["message"]
    streamed: dict[int, dict[str, Any]] = {}
    for chunk in chunks(plan):
        for choice in chunk["choices"]:
            for call in choice["delta"].get("tool_calls", ()):
                known = streamed.setdefault(call["index"], {"name": "", "arguments": "", "id": call.get("id")})
                known["name"] += call["function"].get("name", "")
                known["arguments"] += call["function"]["arguments"]
    assert [(call["id"], call["function"]["arguments"]) for call in message["tool_calls"]] == [
        (call["id"], call["arguments"]) for call in streamed.values()
    ]
    assert len({call["id"] for call in message["tool_calls"]}) == len(message["tool_calls"])
    return [call["name"] for call in streamed.values()]


def test_several_tools_are_called_at_once_where_engine_and_request_allow_it() -> None:
    assert calls_of(BOTH, 2) == ["weather", "clock"]
    assert calls_of(BOTH, 1) == ["weather"]
    assert calls_of({**BOTH, "parallel_tool_calls": False}, 2) == ["weather"]
    assert calls_of({**BOTH, "tool_choice": {"type": "function", "function": {"name": "clock"}}}, 2) == ["clock"]


@pytest.mark.parametrize("member", ["reasoning", "reasoning_content"])
def test_thoughts_come_before_the_answer(member: str) -> None:
    plan = replies.plan("chat", HELLO, replies.Manner(thoughts=member, tokens=3))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks(plan)]
    kinds = [next(iter(delta)) for delta in deltas[1:-1]]
    assert kinds == [member] * 5 + ["content"] * 3
    message = json.loads(replies.whole(plan))["choices"][0]["message"]
    assert message[member] == "".join(delta.get(member, "") for delta in deltas)
    assert plan.usage["completion_tokens"] == 8
    assert not replies.plan("chat", {**HELLO, "reasoning_effort": "none"}, replies.Manner(thoughts=member)).thoughts


@pytest.mark.parametrize("names", [True, False])
def test_a_stop_string_ends_the_answer(names: bool) -> None:
    said = replies.plan("chat", HELLO).pieces
    stop = said[3][2:5]
    plan = replies.plan("chat", {**HELLO, "stop": ["no such", stop]}, replies.Manner(names_stop=names))
    assert "".join(plan.pieces) == "".join(said).split(stop)[0]
    choice = json.loads(replies.whole(plan))["choices"][0]
    assert (choice["finish_reason"], choice.get("stop_reason")) == ("stop", stop if names else None)
    assert chunks(plan)[-1]["choices"][0].get("stop_reason") == (stop if names else None)


def test_it_says_what_it_is_told_to_and_warns_like_a_guard_model() -> None:
    manner = replies.Manner(says="mail bob@example.com", unsafe_about="bomb")
    told = replies.plan("completion", {"prompt": "hi"}, manner)
    assert (told.pieces[:2], "".join(told.pieces), told.finish) == (("mai", "l b"), "mail bob@example.com", "stop")
    assert "".join(replies.plan("completion", {"prompt": "a bomb"}, manner).pieces) == "unsafe\nS1"
    assert replies.plan("completion", {"prompt": "hi", "max_tokens": 2}, manner).finish == "length"
