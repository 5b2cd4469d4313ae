import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.config.schema import Guardrail
from appliance.errors import ProtocolViolation
from appliance.gateway.guarded_stream import GuardedStream
from appliance.guardrails.rules import guards
from appliance.guardrails.scanner import Scanner
from appliance.sse import cut, data_of, is_done

DONE = b"data: [DONE]\n\n"
STOP = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
SECRET = "Write to bob.smith@example.com or +49 30 1234567, about Project Falcon, TCK-1234, card 4111 1111 1111 1111."
KINDS = {
    "pii": {"kind": "pii"},
    "regex": {"kind": "regex", "patterns": (r"TCK-\d{4}", r"[a-z.]{3,20}@example\.com")},
    "keywords": {"kind": "keywords", "words": ("Project Falcon",)},
}
HIDDEN = {"pii": ("bob.smith", "1234567", "4111"), "regex": ("TCK-1", "bob.s"), "keywords": ("Falcon",)}


def scanner(action: str, *kinds: str) -> Scanner:
    rows = {kind: Guardrail(name=kind, on=("output",), action=action, **KINDS[kind]) for kind in kinds}  # type: ignore[arg-type]
    own = guards(kinds, rows)
    assert own is not None
    assert own.output is not None
    return own.output


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c", "model": "m", "choices": [choice], **more}).encode() + b"\n\n"


def streamed(pieces: list[str], member: str = "content") -> list[bytes]:
    return [
        chunk({"role": "assistant", "content": ""}),
        *(chunk({member: piece}) for piece in pieces),
        chunk(finish="stop"),
        DONE,
    ]


def chunks(out: bytes) -> Iterator[dict[str, Any]]:
    for one in cut(out):
        if not is_done(data_of(one)):
            yield json.loads(data_of(one))


def heard(out: bytes, member: str = "content", index: int = 0) -> str:
    """What a client puts together."""
    text = ""
    for value in chunks(out):
        for choice in value["choices"]:
            if choice["index"] == index:
                assert "logprobs" not in choice or choice["logprobs"] is None
                text += choice.get("text") or choice.get("delta", {}).get(member) or ""
    return text


def arguments(out: bytes, call: int = 0) -> str:
    text = ""
    for value in chunks(out):
        for choice in value["choices"]:
            for part in choice["delta"].get("tool_calls", ()):
                text += part["function"].get("arguments", "") if part["index"] == call else ""
    return text


def through(stream: GuardedStream, runs: list[bytes]) -> bytes:
    return b"".join(stream.feed(run) for run in runs) + stream.finish()


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    edges = sorted({0, *(cut for cut in cuts if cut < len(text)), len(text)})
    return [text[start:end] for start, end in pairwise(edges)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("member", ["content", "reasoning", "reasoning_content", "refusal"])
def test_what_a_client_reads_does_not_depend_on_how_the_text_is_cut(kind: str, member: str) -> None:
    look = scanner("redact", kind)
    whole = heard(through(GuardedStream(look), streamed([SECRET], member)), member)
    assert "[" in whole
    assert not any(hidden in whole for hidden in HIDDEN[kind])
    for at in range(1, len(SECRET)):
        stream = GuardedStream(look)
        out = through(stream, streamed([SECRET[:at], SECRET[at:]], member))
        assert heard(out, member) == whole
        assert out.endswith(DONE)
        assert list(chunks(out))[-1]["choices"][0]["finish_reason"] == "stop"
    one_by_one = through(GuardedStream(look), streamed(list(SECRET), member))
    assert heard(one_by_one, member) == whole
    all_at_once = through(GuardedStream(look), [b"".join(streamed(list(SECRET), member))])
    assert heard(all_at_once, member) == whole


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_lets_nothing_of_the_match_out_and_no_finish_reason(kind: str) -> None:
    look = scanner("block", kind)
    for at in range(1, len(SECRET)):
        for runs in (streamed([SECRET[:at], SECRET[at:]]), streamed([SECRET[:at], *SECRET[at:]])):
            stream = GuardedStream(look)
            out = through(stream, runs)
            assert stream.block is not None
            assert stream.block.guardrail == kind
            text = heard(out)
            assert SECRET.startswith(text)
            assert not any(hidden in text for hidden in HIDDEN[kind])
            assert b"[DONE]" not in out
            assert not any(choice["finish_reason"] for value in chunks(out) for choice in value["choices"])
            assert stream.feed(chunk({"content": "more"})) == b""


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_only_looked_at_passes_byte_for_byte(kind: str) -> None:
    look = scanner("flag", kind)
    for at in range(1, len(SECRET)):
        runs = streamed([SECRET[:at], SECRET[at:]])
        runs[1] = runs[1].replace(b'"index": 0', b'"index": 0, "logprobs": {"content": ["x"]}')
        stream = GuardedStream(look)
        assert through(stream, runs) == b"".join(runs)
        assert {finding.guardrail for finding in stream.findings} == {kind}
        assert stream.swallowed == 0


@settings(max_examples=40)
@given(st.lists(st.integers(0, 110), max_size=12), st.integers(1, 5))
def test_any_cut_and_any_reads_give_the_same_text(cuts: list[int], size: int) -> None:
    look = scanner("redact", *KINDS)
    runs = streamed(pieces_of(SECRET, cuts))
    out = through(GuardedStream(look), [b"".join(runs[at : at + size]) for at in range(0, len(runs), size)])
    assert heard(out) == heard(through(GuardedStream(look), streamed([SECRET])))


def test_what_is_safe_leaves_at_once_and_the_rest_in_front_of_the_end() -> None:
    stream = GuardedStream(scanner("redact", "pii"))
    assert heard(stream.feed(chunk({"content": "The quick "}))) == "The quick "
    assert stream.feed(chunk({"content": "fox"})) == b""
    assert heard(stream.feed(chunk({"content": " jumps"}))) == "fox "
    last = stream.feed(chunk({}, "stop"))
    assert [choice["finish_reason"] for value in chunks(last) for choice in value["choices"]] == [None, "stop"]
    assert heard(last) == "jumps"
    assert stream.feed(DONE) == DONE


def test_a_finish_in_the_last_token_carries_the_rest() -> None:
    stream = GuardedStream(scanner("redact", "pii"))
    stream.feed(chunk({"content": "ask bob@exam"}))
    (last,) = chunks(stream.feed(chunk({"content": "ple.com"}, "length")))
    assert last["choices"][0] == {"index": 0, "delta": {"content": "[EMAIL]"}, "finish_reason": "length"}


def test_each_choice_and_each_field_is_a_text_of_its_own() -> None:
    stream = GuardedStream(scanner("redact", "pii"))
    runs = [
        chunk({"content": "bob@exam"}, index=0),
        chunk({"content": "ann@exam"}, index=1),
        chunk({"content": "ple.com."}, index=0),
        chunk({"content": "ple.org!"}, index=1),
        chunk({}, "stop", index=1),
        chunk({}, "stop", index=0),
        DONE,
    ]
    out = through(stream, runs)
    assert (heard(out, index=0), heard(out, index=1)) == ("[EMAIL].", "[EMAIL]!")


def test_thoughts_that_wait_leave_before_the_answer_begins() -> None:
    stream = GuardedStream(scanner("redact", "pii"))
    out = through(
        stream, [chunk({"reasoning": "so be it"}), chunk({"content": "Yes, bob@example.com"}), chunk({}, "stop")]
    )
    order = [name for value in chunks(out) for name in value["choices"][0]["delta"]]
    assert order == ["reasoning", "reasoning", "content", "content"]
    assert (heard(out, "reasoning"), heard(out)) == ("so be it", "Yes, [EMAIL]")


def test_both_names_of_thoughts_in_one_chunk_are_no_change_of_field() -> None:
    stream = GuardedStream(scanner("redact", "pii"))
    out = through(
        stream, [chunk({"reasoning": part, "reasoning_content": part}) for part in ("bob@ex", "ample", ".com ")]
    )
    assert (heard(out, "reasoning"), heard(out, "reasoning_content")) == ("[EMAIL] ", "[EMAIL] ")


def test_a_field_that_was_left_and_comes_back_is_still_the_same_text() -> None:
    stream = GuardedStream(scanner("block", "pii"))
    out = through(stream, [chunk({"content": "bob@exam"}), chunk({"reasoning": "hm "}), chunk({"content": "ple.com"})])
    assert stream.block is not None
    assert b"ple.com" not in out


TOOL = '{"to": "bob@example.com", "note": "caf\\u00e9\\nann@example.org", "card": 4111111111111111}'


def call(text: str | None, number: int | None = 0, **first: str) -> dict[str, Any]:
    function = {"arguments": text} if text is not None else {}
    part: dict[str, Any] = {"function": function | ({"name": first.pop("name")} if "name" in first else {}), **first}
    return {"tool_calls": [part if number is None else {"index": number, **part}]}


@pytest.mark.parametrize("number", [0, None])
def test_arguments_of_tools_stay_json_on_every_cut(number: int | None) -> None:
    look = scanner("redact", "pii")
    meaning = {"to": "[EMAIL]", "note": "café\n[EMAIL]", "card": "[CARD]"}
    for at in range(1, len(TOOL)):
        runs = [
            chunk({"content": "I'll ask"}),
            chunk(call("", number, id="call_1", type="function", name="send")),
            chunk(call(TOOL[:at], number)),
            chunk(call(TOOL[at:], number)),
            chunk({}, "tool_calls"),
        ]
        out = b"".join(GuardedStream(look).feed(run) for run in [b"".join(runs)])
        if number is None:
            texts = [choice["delta"] for value in chunks(out) for choice in value["choices"]]
            text = "".join(
                part["function"].get("arguments", "") for delta in texts for part in delta.get("tool_calls", ())
            )
        else:
            text = arguments(out)
        assert json.loads(text) == meaning
        assert heard(out) == "I'll ask"
        named = [
            part for value in chunks(out) for part in value["choices"][0]["delta"].get("tool_calls", ()) if "id" in part
        ]
        assert [(part["id"], part["function"]["name"]) for part in named] == [("call_1", "send")]


def test_calls_side_by_side_are_not_mixed_up() -> None:
    stream = GuardedStream(scanner("redact", "pii"))
    runs = [
        chunk(call('{"a": "bob@', 0, id="x", name="f")),
        chunk(call('{"b": "ann@', 1, id="y", name="g")),
        chunk(call('example.com"}', 0)),
        chunk(call('example.com"}', 1)),
        chunk({}, "tool_calls"),
    ]
    out = through(stream, runs)
    assert (json.loads(arguments(out, 0)), json.loads(arguments(out, 1))) == ({"a": "[EMAIL]"}, {"b": "[EMAIL]"})


def test_the_old_kind_of_function_call_is_looked_at_too() -> None:
    stream = GuardedStream(scanner("redact", "pii"))
    runs = [
        chunk({"function_call": {"name": "f", "arguments": '{"a": "bob@exa'}}),
        chunk({"function_call": {"arguments": 'mple.com"}'}}),
        chunk({}, "function_call"),
    ]
    deltas = [choice["delta"] for value in chunks(through(stream, runs)) for choice in value["choices"]]
    assert json.loads("".join(delta.get("function_call", {}).get("arguments", "") for delta in deltas)) == {
        "a": "[EMAIL]"
    }


def test_an_answer_that_has_to_be_json_stays_json() -> None:
    text = '{"card": 4111111111111111, "line": "a\\nbob@example.com"}'
    look = scanner("redact", "pii")
    for at in range(1, len(text)):
        stream = GuardedStream(look, json_content=True)
        out = through(stream, streamed([text[:at], text[at:]]))
        assert json.loads(heard(out)) == {"card": "[CARD]", "line": "a\n[EMAIL]"}


def test_completions_are_texts_too() -> None:
    def event(text: str, finish: str | None = None) -> bytes:
        choice = {"index": 0, "text": text, "finish_reason": finish, "logprobs": None}
        return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"

    look = scanner("redact", "pii")
    whole = heard(through(GuardedStream(look), streamed([SECRET])))
    for at in range(1, len(SECRET)):
        out = through(GuardedStream(look), [event(SECRET[:at]), event(SECRET[at:]), event("", "stop"), DONE])
        assert heard(out) == whole


def test_parts_of_a_content_are_one_text() -> None:
    stream = GuardedStream(scanner("redact", "pii"))
    out = through(
        stream, [chunk({"content": [{"type": "text", "text": "bob@"}, {"type": "text", "text": "example.com "}]})]
    )
    (value,) = chunks(out)
    assert value["choices"][0]["delta"]["content"] == [{"type": "text", "text": "[EMAIL] "}]


def test_what_may_repeat_the_text_is_taken_out_and_what_the_api_has_stays() -> None:
    stream = GuardedStream(scanner("redact", "pii"))
    value = {"id": "c", "object": "x", "created": 1, "model": "m", "system_fingerprint": "f", "prompt_token_ids": [1]}
    choice = {"index": 0, "delta": {"content": "a b ", "spare": "bob@example.com"}, "finish_reason": None}
    value["choices"] = [choice | {"logprobs": {"content": [{"token": "bob@example.com"}]}, "token_ids": [1, 2]}]
    (out,) = chunks(stream.feed(b"data: " + json.dumps(value).encode() + b"\n\n"))
    assert out["choices"] == [
        {"index": 0, "delta": {"content": "a b "}, "finish_reason": None, "logprobs": None},
    ]
    assert {name: out[name] for name in out if name != "choices"} == {
        "id": "c",
        "object": "x",
        "created": 1,
        "model": "m",
        "system_fingerprint": "f",
    }


def test_the_bill_and_an_engines_error_pass() -> None:
    stream = GuardedStream(scanner("redact", "pii"))
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4}}\n\n'
    error = b'data: {"error":{"message":"out of memory","code":500}}\n\n'
    assert stream.feed(usage) == usage
    assert stream.feed(error) == error


def test_a_stream_without_finish_reasons_gives_everything_before_its_closing_mark() -> None:
    stream = GuardedStream(scanner("redact", "pii"))
    assert stream.feed(chunk({"content": "fox"})) == b""
    out = stream.feed(DONE)
    assert (heard(out), out.endswith(DONE)) == ("fox", True)


def test_a_stream_that_just_ends_gives_everything() -> None:
    stream = GuardedStream(scanner("redact", "pii"))
    stream.feed(chunk({"content": "fox"}))
    assert heard(stream.finish()) == "fox"
    assert stream.finish() == b""


def test_what_is_no_chunk_is_refused() -> None:
    with pytest.raises(ProtocolViolation):
        GuardedStream(scanner("redact", "pii")).feed(b"data: bob@example.com\n\n")


def test_content_chunks_are_counted_however_they_are_joined() -> None:
    stream = GuardedStream(scanner("redact", "pii"))
    runs = streamed([f"word{number} " for number in range(50)])
    out = b"".join(stream.feed(run) for run in [b"".join(runs[:20]), *runs[20:40], b"".join(runs[40:])])
    given_out = sum(bool(heard(one)) for one in cut(out) if one != DONE)
    assert stream.swallowed == 50 - given_out


def test_ordinary_tokens_are_joined_into_one_event_of_their_shape() -> None:
    stream = GuardedStream(scanner("redact", "pii"))
    tokens = [chunk({"content": f"word{number} "}) for number in range(40)]
    stream.feed(b"".join(tokens[:12]))
    out = stream.feed(b"".join(tokens[12:]))
    assert len(cut(out)) == 1
    assert heard(out) == "".join(f"word{number} " for number in range(12, 40))


def test_what_was_said_is_kept_for_whoever_listens() -> None:
    stream = GuardedStream(scanner("redact", "pii"), listen=True)
    out = through(stream, streamed(["mail bob@", "example.com", " now"]))
    assert "".join(stream.said[0]) == heard(out) == "mail [EMAIL] now"
    assert stream.heard == len(heard(out))
    silent = GuardedStream(None, listen=True)
    runs = streamed(["mail bob@", "example.com", " now"])
    assert through(silent, runs) == b"".join(runs)
    assert "".join(silent.said[0]) == "mail bob@example.com now"
