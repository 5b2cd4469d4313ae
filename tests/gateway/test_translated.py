import json
from itertools import pairwise
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.domain.calls import Usage
from appliance.errors import ConnectionLost, GatewayError
from appliance.gateway.accounting import Exchange
from appliance.gateway.translated import TranslatingRelay, translated
from tests.fakes.accounts import exchange
from tests.fakes.messages import call, chunk, events_of, message_of
from tests.fakes.upstream_reply import ScriptedReply

DONE = b"data: [DONE]\n\n"
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}\n\n'
STOP = b"data: " + chunk(finish="stop") + b"\n\n"


def sse(*deltas: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + chunk(delta) + b"\n\n" for delta in deltas)


async def run(*pieces: bytes | Exception) -> tuple[bytes, TranslatingRelay, Exchange, ScriptedReply]:
    account, upstream = exchange(), ScriptedReply(*pieces)
    relay = TranslatingRelay(upstream, account, on_close=lambda _: None)
    await relay.prime()
    out = b"".join([part async for part in relay])
    await relay.aclose()
    assert account.bytes_out == len(out)
    return out, relay, account, upstream


WORDS = [{"content": word} for word in ["Hi", " there", ' "you"', "\n", " é", "x" * 300]]
CONVERSATION = sse(
    {"role": "assistant", "content": ""},
    {"reasoning": "Hm"},
    {"reasoning": "m"},
    *WORDS,
    call(0, '{"a":', id="c0", name="f"),
    call(1, '{"b":', id="c1", name="g"),
    call(0, "1}"),
    call(1, "2}"),
)
WHOLE = CONVERSATION + b"data: " + chunk(finish="tool_calls") + b"\n\n" + USAGE + DONE


async def test_a_good_stream_is_settled_with_its_usage() -> None:
    out, relay, account, upstream = await run(WHOLE)
    message = message_of(out)
    assert [block["type"] for block in message["content"]] == ["thinking", "text", "tool_use", "tool_use"]
    assert message["usage"]["output_tokens"] == 4
    assert (account.usage, account.finish) == (Usage(9, 4), "tool_calls")
    assert (relay.broken, relay.ended, account.settled, upstream.closed) == (False, True, True, True)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000])
async def test_pieces_of_any_size_make_the_same_bytes(size: int) -> None:
    expected, *_ = await run(WHOLE)
    out, *_ = await run(*(WHOLE[at : at + size] for at in range(0, len(WHOLE), size)))
    assert out == expected


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(1, len(WHOLE) - 1), max_size=12))
def test_cut_anywhere_the_bytes_are_the_same(cuts: set[int]) -> None:
    async def both() -> None:
        expected, *_ = await run(WHOLE)
        ends = [0, *sorted(cuts), len(WHOLE)]
        out, *_ = await run(*(WHOLE[start:end] for start, end in pairwise(ends)))
        assert out == expected

    trio.run(both)


async def test_a_flood_of_tokens_takes_the_short_way_and_says_the_same() -> None:
    words = [{"content": word} for word in ["", 'a"b', "\\", " é", "\U0001f600"] * 40]
    flood = sse({"role": "assistant", "content": ""}, {"content": "x"}) + sse(*words) + STOP + USAGE + DONE
    first = flood.index(b"\n\n", 200) + 2
    out, relay, *_ = await run(flood[:first], flood[first : len(flood) // 2], flood[len(flood) // 2 :])
    assert relay._shape is not None
    assert message_of(out)["content"][0]["text"] == "x" + "".join(word["content"] for word in words)
    one_by_one, *_ = await run(*(event + b"\n\n" for event in flood.split(b"\n\n") if event))
    assert one_by_one == out


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        ((sse({"content": "Hi"}),), "stream_truncated"),
        ((sse({"content": "Hi"}), b'data: {"cho'), "stream_truncated"),
        ((sse({"content": "Hi"}), ConnectionLost("reset", before_reply=False)), "backend_died"),
        ((sse({"content": "Hi"}), b"data: {not json\n\n"), "upstream_protocol"),
        ((sse({"content": "Hi"}), b"data: " + chunk(finish="abort") + b"\n\n", DONE), "backend_died"),
    ],
)
async def test_a_bad_end_closes_the_block_and_is_an_error_event(pieces: tuple[Any, ...], code: str) -> None:
    out, relay, account, _ = await run(*pieces)
    *_, stop, error = events_of(out)
    assert stop == {"type": "content_block_stop", "index": 0}
    assert (error["type"], error["error"]["code"], error["error"]["type"]) == ("error", code, "api_error")
    assert error["request_id"] == account.request_id
    assert b"message_stop" not in out
    assert (relay.broken, account.settled) == (True, True)


async def test_an_error_of_the_engine_ends_the_stream_as_an_error() -> None:
    out, relay, *_ = await run(sse({"content": "Hi"}), b'data: {"error":{"message":"m","code":500}}\n\n', DONE)
    assert events_of(out)[-1]["error"] == {"type": "api_error", "message": "m", "code": 500}
    assert out.count(b"event: error") == 1
    assert relay.broken


async def test_an_interruption_is_an_error_event_of_the_same_shape() -> None:
    account = exchange()
    relay = TranslatingRelay(ScriptedReply(sse({"content": "Hi"}), b""), account, on_close=lambda _: None)
    await relay.prime()
    first = await anext(relay)
    relay.interrupt(GatewayError("draining", "Going away.", retry_after=5))
    out = first + b"".join([part async for part in relay])
    await relay.aclose()
    assert events_of(out)[-1]["error"]["type"] == "overloaded_error"


async def test_nothing_at_all_is_an_error_with_a_status() -> None:
    relay = TranslatingRelay(ScriptedReply(DONE), exchange(), on_close=lambda _: None)
    with pytest.raises(GatewayError) as caught:
        await relay.prime()
    assert caught.value.code == "empty_response"
    await relay.aclose()


async def test_an_end_without_the_mark_is_good_after_a_finish_reason() -> None:
    out, relay, *_ = await run(sse({"content": "Hi"}) + STOP)
    message = message_of(out)
    assert (message["stop_reason"], message["usage"]["output_tokens"], relay.broken) == ("end_turn", 1, False)


def test_a_whole_answer_notes_its_usage_and_has_the_exchanges_id() -> None:
    account = exchange()
    body = json.dumps(
        {
            "choices": [{"message": {"content": "x"}, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 1},
        }
    ).encode()
    message = json.loads(translated(200, body, account))
    assert message["id"] == f"msg_{account.internal_id}"
    assert (account.usage, account.finish) == (Usage(3, 1), "length")


@pytest.mark.parametrize(("body", "code"), [(b"", "empty_response"), (b"{", "upstream_protocol")])
def test_a_whole_answer_that_is_none(body: bytes, code: str) -> None:
    with pytest.raises(GatewayError) as caught:
        translated(200, body, exchange())
    assert caught.value.code == code


async def test_the_sign_of_life_is_a_ping() -> None:
    relay = TranslatingRelay(ScriptedReply(sse({"content": "Hi"}), DONE), exchange(), on_close=lambda _: None)
    await relay.prime()
    await anext(relay)
    assert relay.keep_alive() == b""
    assert relay.keep_alive() == b'event: ping\ndata: {"type":"ping"}\n\n'
    await relay.aclose()
