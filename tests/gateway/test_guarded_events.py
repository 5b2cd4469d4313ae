import json
from typing import Any

import pytest

from appliance.errors import ProtocolViolation
from appliance.gateway.guarded_events import GuardedEvents
from appliance.gateway.guarded_reply import GuardedReply
from appliance.gateway.guarding import refusal
from appliance.gateway.responses import ResponsesRelay
from appliance.guardrails.scanner import Scanner
from appliance.sse import cut, data_of, is_done
from tests.fakes.accounts import exchange
from tests.fakes.upstream_reply import ScriptedReply
from tests.gateway.test_guarded_stream import DONE, HIDDEN, SECRET, chunk, scanner

TOOL = '{"to": "bob@example.com", "card": 4111111111111111}'


def event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def text(pieces: list[str], output: int = 0) -> list[bytes]:
    """A response with one text, as engines stream it."""
    whole = "".join(pieces)
    at: dict[str, Any] = {"output_index": output, "content_index": 0, "item_id": "msg_1"}
    part = {"type": "output_text", "text": whole, "logprobs": [{"token": whole}], "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
    told: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": {"id": "r", "instructions": "mail ann@example.com", "output": []}}),
        ("response.output_item.added", {"output_index": output, "item": {**item, "content": []}}),
        *(("response.output_text.delta", {**at, "delta": piece, "logprobs": [{"token": piece}]}) for piece in pieces),
        ("response.output_text.done", {**at, "text": whole}),
        ("response.content_part.done", {**at, "part": part}),
        ("response.output_item.done", {"output_index": output, "item": item}),
        ("response.completed", {"response": {"id": "r", "output": [item], "usage": {"input_tokens": 1}}}),
    ]
    return [event(kind, sequence_number=number, **members) for number, (kind, members) in enumerate(told)]


def through(look: Scanner | None, runs: list[bytes], **how: Any) -> tuple[GuardedEvents, bytes]:
    stream = GuardedEvents(look, **how)
    return stream, b"".join(stream.feed(run) for run in runs) + stream.finish()


def values(out: bytes) -> list[dict[str, Any]]:
    found = [json.loads(data_of(one)) for one in cut(out) if not is_done(data_of(one))]
    numbers = [value["sequence_number"] for value in found if "sequence_number" in value]
    assert numbers == list(range(len(numbers)))
    return found


def heard(out: bytes, kind: str = "response.output_text.delta") -> str:
    return "".join(value["delta"] for value in values(out) if value["type"] == kind)


@pytest.mark.parametrize("kind", HIDDEN)
def test_pieces_and_wholes_say_the_same_redacted_text_on_every_cut(kind: str) -> None:
    look = scanner("redact", kind)
    whole = heard(through(look, text([SECRET]))[1])
    assert "[" in whole
    for at in range(1, len(SECRET)):
        stream, out = through(look, text([SECRET[:at], SECRET[at:]]))
        assert heard(out) == whole
        assert not any(hidden in out.decode() for hidden in HIDDEN[kind])
        found = {value["type"]: value for value in values(out)}
        assert found["response.output_text.done"]["text"] == whole
        assert found["response.content_part.done"]["part"]["text"] == whole
        assert found["response.output_item.done"]["item"]["content"][0]["text"] == whole
        assert found["response.completed"]["response"]["output"][0]["content"][0] == {
            "type": "output_text",
            "text": whole,
            "logprobs": [],
            "annotations": [],
        }
        assert found["response.created"]["response"]["instructions"] == "mail ann@example.com"  # the client's own
        assert stream.done
    assert heard(through(look, text(list(SECRET)))[1]) == whole


@pytest.mark.parametrize("kind", HIDDEN)
def test_a_block_lets_nothing_of_the_match_out(kind: str) -> None:
    look = scanner("block", kind)
    for at in range(1, len(SECRET)):
        stream, out = through(look, text([SECRET[:at], SECRET[at:]]))
        assert stream.block is not None
        assert SECRET.startswith(heard(out))
        assert not any(hidden in out.decode() for hidden in HIDDEN[kind])
        assert b"response.completed" not in out


def test_what_is_only_looked_at_passes_byte_for_byte_and_is_counted_once() -> None:
    runs = text([SECRET[:20], SECRET[20:]])
    stream, out = through(scanner("flag", "pii"), runs)
    assert out == b"".join(runs)
    assert {finding.category: count for finding, count in stream.findings.items()} == {
        "email": 1,
        "phone": 1,
        "card": 1,
    }


def test_a_whole_without_pieces_is_looked_at() -> None:
    runs = [one for one in text([SECRET]) if b".delta" not in one]
    stream, out = through(scanner("redact", "pii"), runs)
    assert not any(hidden in out.decode() for hidden in HIDDEN["pii"])
    assert stream.findings


def test_arguments_of_tools_stay_json() -> None:
    kind, look = "response.function_call_arguments", scanner("redact", "pii")
    for at in range(1, len(TOOL)):
        item = {"type": "function_call", "name": "send", "call_id": "c", "arguments": TOOL}
        runs = [
            event(f"{kind}.delta", output_index=1, delta=TOOL[:at]),
            event(f"{kind}.delta", output_index=1, delta=TOOL[at:]),
            event(f"{kind}.done", output_index=1, arguments=TOOL),
            event("response.output_item.done", output_index=1, item=item),
        ]
        _, out = through(look, runs)
        expected = {"to": "[EMAIL]", "card": "[CARD]"}
        assert json.loads(heard(out, f"{kind}.delta")) == expected
        assert json.loads(values(out)[-2]["arguments"]) == expected
        assert json.loads(values(out)[-1]["item"]["arguments"]) == expected


def test_items_are_kept_apart_by_their_names_where_an_engine_numbers_nothing() -> None:
    """As llama-server writes them: what one of them holds back never leaves with the name of another."""
    kind = "response.output_text.delta"
    runs = [
        event(kind, item_id="msg_1", delta="mail bob.smith@exam"),
        event(kind, item_id="msg_2", delta="ple.com now"),
    ]
    runs += [event("response.output_item.done", item={"id": name, "content": []}) for name in ("msg_1", "msg_2")]
    _, out = through(scanner("redact", "pii"), runs)
    said = {
        name: "".join(one["delta"] for one in values(out) if one.get("item_id") == name) for name in ("msg_1", "msg_2")
    }
    assert said == {"msg_1": "mail bob.smith@exam", "msg_2": "ple.com now"}


def test_an_answer_that_has_to_be_json_stays_json() -> None:
    _, out = through(scanner("redact", "pii"), text([TOOL[:30], TOOL[30:]]), json_content=True)
    assert json.loads(heard(out)) == {"to": "[EMAIL]", "card": "[CARD]"}


def test_texts_side_by_side_are_not_mixed_up_and_thoughts_leave_first() -> None:
    runs = [
        event("response.reasoning_text.delta", output_index=0, delta="so be it"),
        event("response.output_text.delta", output_index=1, delta="bob@exam"),
        event("response.output_text.delta", output_index=2, delta="ann@exam"),
        event("response.output_text.done", output_index=2, text="ann@exam"),
        event("response.output_text.delta", output_index=1, delta="ple.com "),
        event("response.completed", response={"output": []}),
    ]
    stream, out = through(scanner("redact", "pii"), runs, listen=True)
    said = [(value.get("output_index"), value["delta"]) for value in values(out) if "delta" in value]
    assert said[:2] == [(0, "so be "), (0, "it")]
    assert "".join(piece for output, piece in said if output == 2) == "ann@exam"
    assert stream.heard == sum(len(piece) for _, piece in said)


def test_transcripts_of_both_kinds() -> None:
    runs = [
        event("transcript.text.delta", delta="I am bob@"),
        event("transcript.text.delta", delta="example.com"),
        event("transcript.text.done", text="I am bob@example.com"),
    ]
    _, out = through(scanner("redact", "pii"), runs)
    assert heard(out, "transcript.text.delta") == values(out)[-1]["text"] == "I am [EMAIL]"
    chunks = [chunk({"content": "I am bob@"}), chunk({"content": "example.com"}), chunk({}, "stop"), DONE]
    stream, out = through(scanner("redact", "pii"), chunks)
    assert b"[EMAIL]" in out
    assert b"bob" not in out
    assert stream.done
    stream, _ = through(scanner("block", "pii"), chunks)
    assert stream.block is not None


def test_sounds_and_errors_pass_as_they_are() -> None:
    runs = [event("response.audio.delta", delta="AAAA"), event("error", message="no route to 10.0.0.1")]
    stream, out = through(scanner("block", "pii"), runs)
    assert stream.block is None
    assert [value["type"] for value in values(out)] == ["response.audio.delta", "error"]


def test_what_is_no_event_is_refused() -> None:
    with pytest.raises(ProtocolViolation):
        GuardedEvents(scanner("redact", "pii")).feed(b"data: bob@example.com\n\n")


@pytest.mark.parametrize("action", ["redact", "block"])
async def test_through_the_relay_of_responses(action: str) -> None:
    account = exchange()
    stream = GuardedEvents(scanner(action, "pii"))
    upstream = ScriptedReply(*text([SECRET[:20], SECRET[20:]]))
    reply = GuardedReply(upstream, stream, account, refusal=refusal)
    relay = ResponsesRelay(reply, account, created=7, on_close=lambda _: None)
    await relay.prime()
    out = b"".join([part async for part in relay])
    await relay.aclose()
    assert b"bob.smith" not in out
    assert relay.broken == (action == "block")
    last = json.loads(data_of(cut(out)[-1]))
    if action == "block":
        assert (last["type"], last["error"]["guardrail_key"]) == ("error", "pii")
    else:
        assert last["type"] == "response.completed"
