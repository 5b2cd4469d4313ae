import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ProtocolViolation
from appliance.translate.messages_stream import MessagesStream
from tests.fakes.messages import call, chunk, events_of, message_of

USAGE = json.dumps(
    {
        "choices": [],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2}},
    }
).encode()


def said(*chunks: bytes, estimated: int = 0) -> bytes:
    stream = MessagesStream("msg_1", "req_1", "public")
    return b"".join(stream.chunk(data) for data in chunks) + stream.finish(estimated)


def kinds(raw: bytes) -> list[str]:
    return [
        event["delta"]["type"] if "index" in event and "delta" in event else event["type"] for event in events_of(raw)
    ]


def test_the_sequence_of_a_text() -> None:
    role = chunk({"role": "assistant", "content": ""})
    raw = said(role, chunk({"content": "Hi"}), chunk({"content": " é\n\u2028"}), chunk(finish="stop"), USAGE)
    assert kinds(raw) == [
        "message_start",
        "ping",
        "content_block_start",
        "text_delta",
        "text_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    message = message_of(raw)
    assert message["content"] == [{"type": "text", "text": "Hi é\n\u2028", "citations": None}]
    assert (message["stop_reason"], message["stop_sequence"]) == ("end_turn", None)
    assert message["usage"]["input_tokens"] == 7
    assert message["usage"]["cache_read_input_tokens"] == 2
    assert message["usage"]["output_tokens"] == 4
    assert (message["id"], message["model"], message["role"]) == ("msg_1", "m", "assistant")


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_thoughts_of_both_engines_are_a_block_with_a_signature(name: str) -> None:
    raw = said(chunk({name: "Hm"}), chunk({name: "m."}), chunk({"content": "Yes"}), chunk(finish="stop"))
    thinking, text = message_of(raw)["content"]
    assert (thinking["type"], thinking["thinking"], bool(thinking["signature"])) == ("thinking", "Hmm.", True)
    assert text["text"] == "Yes"
    assert kinds(raw)[2:7] == [
        "content_block_start",
        "thinking_delta",
        "thinking_delta",
        "signature_delta",
        "content_block_stop",
    ]


def test_a_tool_call_with_arguments_in_its_first_part_loses_nothing() -> None:
    raw = said(chunk(call(0, '{"x":', id="c0", name="f")), chunk(call(0, "1}")), chunk(finish="tool_calls"))
    message = message_of(raw)
    (block,) = message["content"]
    assert (block["id"], block["name"], block["input"], block["partial"]) == ("c0", "f", {}, '{"x":1}')
    assert message["stop_reason"] == "tool_use"


def test_parallel_calls_are_blocks_one_after_the_other() -> None:
    raw = said(
        chunk({"content": "Let me see."}),
        chunk(call(0, "", id="c0", name="f")),
        chunk(call(0, "{}")),
        chunk(call(1, '{"y":2}', id="c1", name="g")),
        chunk(finish="tool_calls"),
    )
    text, first, second = message_of(raw)["content"]
    assert text["text"] == "Let me see."
    assert (first["id"], first["partial"]) == ("c0", "{}")
    assert (second["id"], second["partial"]) == ("c1", '{"y":2}')


def test_interleaved_calls_wait_for_their_turn() -> None:
    raw = said(
        chunk(call(0, '{"a":', id="c0", name="f")),
        chunk(call(1, '{"b":', id="c1", name="g")),
        chunk(call(0, "1}")),
        chunk(call(1, "2}")),
        chunk(finish="tool_calls"),
    )
    assert [block["partial"] for block in message_of(raw)["content"]] == ['{"a":1}', '{"b":2}']


def test_text_between_the_parts_of_a_call_follows_it() -> None:
    raw = said(
        chunk(call(0, '{"a":', id="c0", name="f")),
        chunk({"content": "so"}),
        chunk({"content": " on"}),
        chunk(call(0, "1}")),
        chunk({"content": "!"}),
        chunk(finish="stop"),
    )
    block, text = message_of(raw)["content"]
    assert (block["partial"], text["text"]) == ('{"a":1}', "so on!")
    assert message_of(raw)["stop_reason"] == "tool_use"  # some engines say "stop" after a call


@pytest.mark.parametrize(
    "parts",
    [
        [call(None, "{}", id="a", name="f"), call(None, "{}", id="b", name="g")],
        [call(0, "{}", id="a", name="f"), call(0, "{}", id="b", name="g")],
        [call(3, "{}", id="a", name="f"), call(7, "{}", id="b", name="g")],
        [call(0, "{", id="a", name="f"), call(1, "{", id="b"), call(0, "}"), call(1, "}", name="g")],
    ],
    ids=["no index", "always zero", "not dense", "name late"],
)
def test_calls_are_told_apart_however_they_are_numbered(parts: list[dict[str, Any]]) -> None:
    raw = said(*map(chunk, parts), chunk(finish="tool_calls"))
    found = [(block["id"], block["name"], block["partial"]) for block in message_of(raw)["content"]]
    assert found == [("a", "f", "{}"), ("b", "g", "{}")]


def test_repeated_ids_and_names_are_said_once() -> None:
    part = call(0, "{", id="a", name="f"), call(0, "}", id="a", name="f")
    (block,) = message_of(said(*map(chunk, part), chunk(finish="tool_calls")))["content"]
    assert (block["id"], block["name"], block["partial"]) == ("a", "f", "{}")


def test_a_call_without_an_id_gets_one_of_its_own() -> None:
    raw = said(chunk(call(0, "{}", name="f")), chunk(call(1, "{}", name="f")), chunk(finish="tool_calls"))
    first, second = (block["id"] for block in message_of(raw)["content"])
    assert first.startswith("toolu_")
    assert first != second


@pytest.mark.parametrize(
    ("finish", "more", "reason", "sequence"),
    [
        ("stop", {}, "end_turn", None),
        ("stop", {"stop_reason": "END"}, "stop_sequence", "END"),
        ("stop", {"stop_reason": 128001}, "end_turn", None),
        ("length", {}, "max_tokens", None),
        ("content_filter", {}, "refusal", None),
        ("repetition", {}, "end_turn", None),
    ],
)
def test_why_it_ended(finish: str, more: dict[str, Any], reason: str, sequence: str | None) -> None:
    message = message_of(said(chunk({"content": "x"}), chunk({}, finish, **more)))
    assert (message["stop_reason"], message["stop_sequence"]) == (reason, sequence)


def test_an_empty_answer_has_one_empty_text() -> None:
    (block,) = message_of(said(chunk({"role": "assistant"}), chunk(finish="stop")))["content"]
    assert (block["type"], block["text"]) == ("text", "")


@pytest.mark.parametrize(
    "more",
    [
        {"usage": {"prompt_tokens": 30, "completion_tokens": 1}},
        {"timings": {"prompt_n": 10, "cache_n": 20, "predicted_n": 1}},
    ],
    ids=["vLLM", "llama-server"],
)
def test_the_start_knows_the_prompt_where_the_engine_says_it_early(more: dict[str, Any]) -> None:
    raw = said(chunk({"role": "assistant", "content": None}), chunk({"content": "x"}, **more), chunk(finish="stop"))
    usage = events_of(raw)[0]["message"]["usage"]
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] == 30
    assert usage["output_tokens"] == 0


def test_without_any_usage_what_was_seen_is_counted() -> None:
    assert message_of(said(chunk({"content": "x"}), chunk(finish="stop"), estimated=1))["usage"]["output_tokens"] == 1


def test_an_engines_error_closes_the_block_and_is_said_once() -> None:
    stream = MessagesStream("msg_1", "req_1", "m")
    raw = stream.chunk(chunk({"content": "x"}))
    error = b'{"error":{"message":"out of memory","type":"server_error","code":503}}'
    raw += stream.chunk(error) + stream.chunk(error)
    *_, stop, last = events_of(raw)
    assert stop == {"type": "content_block_stop", "index": 0}
    assert last == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "out of memory", "code": 503},
        "request_id": "req_1",
    }


@pytest.mark.parametrize("data", [b"{not json", b"[]", b'{"choices":[{"delta":{"content":5}}]}', b"[" * 100_000])
def test_what_is_no_chunk_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        MessagesStream("msg_1", "req_1", "m").chunk(data)


def test_tokens_known_to_be_text_take_the_short_way_to_the_same_bytes() -> None:
    words = ["a", " b", 'quo"te', "\\n", "é", "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")]
    slow, quick = MessagesStream("msg_1", "r", "m"), MessagesStream("msg_1", "r", "m")
    opening = chunk({"content": "."})
    assert slow.chunk(opening) == quick.chunk(opening)
    raw = [json.dumps(word, ensure_ascii=False)[1:-1].encode() for word in ["", *words]]
    expected = b"".join(slow.chunk(chunk({"content": word})) for word in words)
    assert quick.texts("text", raw) == expected
    assert quick.texts("text", [b""]) == b""
    assert quick.texts("thinking", raw) is None


TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("content"), TEXT),
        st.tuples(st.sampled_from(["reasoning", "reasoning_content"]), TEXT),
        st.tuples(st.integers(0, 2), st.integers(1, 4)),
    ),
    max_size=24,
)
ARGUMENTS = ['{"a": {"b": "}"}}', '{"c": [1, 2, "\\"}"]}', '{"d": "\\u00e9 {"}']


@given(STEPS, st.sampled_from(["stop", "length", "tool_calls"]))
def test_whatever_the_order_nothing_is_lost_or_said_twice(steps: list[tuple[Any, Any]], finish: str) -> None:
    chunks, left, texts, thoughts = [], dict(enumerate(ARGUMENTS)), "", ""
    begun: list[int] = []
    for kind, value in steps:
        if isinstance(kind, int):
            piece, left[kind] = left[kind][:value], left[kind][value:]
            first = {} if kind in begun else {"id": f"c{kind}", "name": f"f{kind}"}
            begun += [] if kind in begun else [kind]
            chunks.append(chunk(call(kind, piece, **first)))
        else:
            texts += value if kind == "content" else ""
            thoughts += "" if kind == "content" else value
            chunks.append(chunk({kind: value}))
    message = message_of(said(*chunks, chunk(finish=finish), USAGE))
    blocks = message["content"]
    assert "".join(block["text"] for block in blocks if block["type"] == "text") == texts
    assert "".join(block["thinking"] for block in blocks if block["type"] == "thinking") == thoughts
    calls = [(block["id"], block["partial"]) for block in blocks if block["type"] == "tool_use"]
    assert calls == [
        (f"c{kind}", ARGUMENTS[kind].removesuffix(left[kind]) if left[kind] else ARGUMENTS[kind]) for kind in begun
    ]
