import json
from typing import Any

import pytest

from appliance.domain.calls import Usage
from appliance.errors import ConnectionLost, GatewayError
from appliance.gateway.accounting import Exchange
from appliance.gateway.native import NativeRelay, native
from tests.fakes.accounts import exchange as opened
from tests.fakes.upstream_reply import ScriptedReply


def events(*values: dict[str, Any]) -> bytes:
    return b"".join(b"event: %s\ndata: %s\n\n" % (v["type"].encode(), json.dumps(v).encode()) for v in values)


START = {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 9, "output_tokens": 1}}}
BEGIN = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
TEXT = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
STOP = {"type": "content_block_stop", "index": 0}
DELTA = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}
END = {"type": "message_stop"}
WHOLE = events(START, {"type": "ping"}, BEGIN, TEXT, STOP, DELTA, END)


async def relayed(*pieces: bytes | Exception) -> tuple[bytes, Exchange, NativeRelay]:
    account = opened()
    relay = NativeRelay(ScriptedReply(*pieces), account, hide_usage=False, on_close=lambda _: None)
    await relay.prime()
    out = b"".join([data async for data in relay])
    await relay.aclose()
    return out, account, relay


@pytest.mark.parametrize("size", [1, 10, 10_000])
async def test_a_stream_passes_byte_for_byte_and_is_counted(size: int) -> None:
    out, account, relay = await relayed(*(WHOLE[at : at + size] for at in range(0, len(WHOLE), size)))
    assert out == WHOLE
    assert (account.usage, account.finish) == (Usage(9, 7), "end_turn")
    assert account.settled
    assert not relay.broken


async def test_nothing_comes_after_the_end() -> None:
    out, _, _ = await relayed(WHOLE + events(TEXT) + b"data: [DONE]\n\n")
    assert out == WHOLE


async def test_an_end_that_comes_too_early_closes_the_block_and_is_an_error() -> None:
    out, account, relay = await relayed(events(START, BEGIN, TEXT))
    tail = out.removeprefix(events(START, BEGIN, TEXT)).decode().strip().split("\n\n")
    assert json.loads(tail[0].split("data: ")[1]) == STOP
    assert tail[1].startswith("event: error\n")
    assert "stream_truncated" in tail[1]
    assert relay.broken
    assert account.usage == Usage(9, 1)


async def test_a_stop_reason_alone_is_no_end() -> None:
    out, _, relay = await relayed(events(START, BEGIN, TEXT, STOP, DELTA))
    assert b"event: error" in out
    assert relay.broken


async def test_the_providers_own_error_passes_and_ends_it() -> None:
    failed = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    out, _, relay = await relayed(events(START, failed))
    assert out == events(START, failed)
    assert relay.broken


async def test_a_connection_that_breaks_is_an_error() -> None:
    out, _, relay = await relayed(events(START), ConnectionLost("gone", before_reply=False))
    assert b"backend_died" in out
    assert relay.broken


async def test_a_stream_without_anything_is_answered_with_a_status() -> None:
    with pytest.raises(GatewayError) as caught:
        await relayed()
    assert caught.value.code == "empty_response"


async def test_a_silent_stream_pings() -> None:
    relay = NativeRelay(ScriptedReply(WHOLE), opened(), hide_usage=False, on_close=lambda _: None)
    assert relay.keep_alive() == b'event: ping\ndata: {"type":"ping"}\n\n'


def test_a_whole_answer_keeps_everything_and_gets_our_id() -> None:
    account = opened()
    body = b'{"id":"msg_1","content":[],"usage":{"input_tokens":3,"output_tokens":4},"stop_reason":"tool_use","new":1}'
    assert json.loads(native(200, body, account)) == json.loads(body) | {"request_id": "req-1"}
    assert (account.usage, account.finish) == (Usage(3, 4), "tool_use")


def test_an_error_keeps_its_words_and_gets_our_id() -> None:
    body = b'{"type":"error","error":{"type":"rate_limit_error","message":"m"},"request_id":"req_theirs"}'
    assert json.loads(native(429, body, opened())) == json.loads(body) | {"request_id": "req-1"}
    assert native(502, b"<html>", opened()) == b"<html>"


@pytest.mark.parametrize(("body", "code"), [(b"", "empty_response"), (b"[]", "upstream_protocol")])
def test_what_is_no_answer(body: bytes, code: str) -> None:
    with pytest.raises(GatewayError) as caught:
        native(200, body, opened())
    assert caught.value.code == code
