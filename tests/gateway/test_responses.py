import json

import pytest

from appliance.domain.calls import Usage
from appliance.errors import ConnectionLost, GatewayError
from appliance.gateway.accounting import Exchange
from appliance.gateway.responses import ResponsesRelay
from tests.fakes.accounts import exchange, text_of
from tests.fakes.upstream_reply import ScriptedReply


def event(kind: str, **fields: object) -> bytes:
    members = {"type": f"response.{kind}", "sequence_number": 0} | fields
    return f"event: response.{kind}\ndata: {json.dumps(members)}\n\n".encode()


USAGE = {"input_tokens": 25, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 0}}
CREATED = event("created", response={"id": "resp_1", "status": "in_progress"})
HI = event("output_text.delta", delta="Hi")
COMPLETED = event("completed", response={"status": "completed", "usage": USAGE})
FAILED = event("failed", response={"status": "failed", "error": {"code": "server_error", "message": "x"}})


async def run(*pieces: bytes | Exception) -> tuple[bytes, ResponsesRelay, Exchange, ScriptedReply]:
    account, upstream = exchange(), ScriptedReply(*pieces)
    relay = ResponsesRelay(upstream, account, created=7, on_close=lambda _: None)
    await relay.prime()
    out = b"".join([part async for part in relay])
    await relay.aclose()
    return out, relay, account, upstream


@pytest.mark.parametrize("last", ["completed", "incomplete"])
async def test_a_good_stream_passes_byte_for_byte_and_is_counted(last: str) -> None:
    end = event(last, response={"status": last, "usage": USAGE})
    out, relay, account, upstream = await run(CREATED, HI + HI, end)
    assert out == CREATED + HI + HI + end
    assert (relay.broken, account.settled, account.usage, upstream.closed) == (False, True, Usage(25, 4), True)
    assert account.first_token is not None
    assert account.finish == {"completed": "stop", "incomplete": "length"}[last]


async def test_what_an_engine_leaves_out_is_filled_in_however_it_arrives() -> None:
    """As llama-server writes it: no number, no place, hardly a response."""

    def bare(kind: str, **fields: object) -> bytes:
        return event(kind, **fields).replace(b'"sequence_number": 0, ', b"")

    pieces = [
        bare("created", response={"id": "resp_1", "status": "in_progress"}),
        bare("output_item.added", item={"id": "msg_1", "type": "message"}),
        bare("content_part.added", item_id="msg_1", part={}),
        *[bare("output_text.delta", item_id="msg_1", delta="Hi")] * 2,
        bare("completed", response={"id": "resp_1", "status": "completed", "usage": USAGE}),
    ]
    alone, _, account, _ = await run(*pieces)
    together, *_ = await run(b"".join(pieces).replace(b"\n", b"\r\n"))
    assert together == alone
    assert account.usage == Usage(25, 4)
    events = [json.loads(line[6:]) for line in alone.splitlines() if line.startswith(b"data: ")]
    assert [one["sequence_number"] for one in events] == list(range(6))
    assert [one.get("output_index") for one in events] == [None, 0, 0, 0, 0, None]
    assert events[0]["response"]["output"] == []
    assert (events[0]["response"]["model"], events[0]["response"]["created_at"]) == (account.model, 7)
    names = [line.removeprefix(b"event: ").decode() for line in alone.splitlines() if line.startswith(b"event: ")]
    assert names == [one["type"] for one in events]


async def test_every_split_gives_the_same_bytes() -> None:
    whole = CREATED + HI + COMPLETED
    for at in range(1, len(whole)):
        out, *_ = await run(whole[:at], whole[at:])
        assert out == whole


async def test_a_flood_is_counted_like_single_events() -> None:
    for pieces in ([HI] * 50, [HI * 50], [HI * 25 + CREATED, HI * 25], [HI.replace(b": ", b":") * 50]):
        out, _, account, _ = await run(CREATED, *pieces, ConnectionLost("reset", before_reply=False))
        assert account.usage == Usage(output=50, estimated=True)
        assert f'"sequence_number":{out.count(b"event: response") + out.count(b"event:response")}'.encode() in out


async def test_nothing_follows_the_last_event_and_no_done_is_passed_on() -> None:
    out, relay, *_ = await run(CREATED + b"data: [DONE]\n\n" + HI + COMPLETED + b"data: [DONE]\n\n" + HI)
    assert out == CREATED + HI + COMPLETED
    assert not relay.broken


async def test_an_engine_without_names_for_its_events_is_understood() -> None:
    bare = (CREATED + HI + COMPLETED).replace(b"event: ", b"x: ")
    out, _, account, _ = await run(bare)
    assert out == bare
    assert account.usage == Usage(25, 4)


async def test_a_failed_response_is_a_whole_answer_that_is_no_success() -> None:
    out, relay, account, _ = await run(CREATED, FAILED)
    assert out == CREATED + FAILED
    assert (relay.broken, account.settled) == (False, True)
    assert '"backend_error"' in text_of(account.accounts.metrics)


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        ((CREATED, HI), "stream_truncated"),
        ((CREATED, HI, COMPLETED[:-10]), "stream_truncated"),
        ((CREATED, HI, b"data: [DONE]\n\n"), "stream_truncated"),
        ((CREATED,), "empty_response"),
        ((CREATED, HI, ConnectionLost("reset", before_reply=False)), "backend_died"),
        ((CREATED, HI, b"event: x\ndata: {no\n\n"), "upstream_protocol"),
    ],
)
async def test_a_bad_end_is_told_as_the_api_tells_errors(pieces: tuple[bytes | Exception, ...], code: str) -> None:
    out, relay, account, _ = await run(*pieces)
    name, data = out.removesuffix(b"\n\n").rpartition(b"\n\n")[2].split(b"\n")
    said = json.loads(data.removeprefix(b"data: "))
    assert (name, said["code"]) == (b"event: error", code)
    assert said["sequence_number"] == out.count(b"\n\n") - 1
    assert b"[DONE]" not in out
    assert (relay.broken, account.settled) == (True, True)
    assert account.usage == (Usage(output=1, estimated=True) if HI in pieces else Usage())


async def test_an_error_event_of_the_engine_is_passed_on_and_the_connection_ends() -> None:
    error = b'event: error\ndata: {"type":"error","message":"x"}\n\n'  # of an engine that numbers its events
    out, relay, account, _ = await run(CREATED, error)
    assert out == CREATED + error
    assert (relay.broken, account.settled) == (True, True)


async def test_a_stream_that_is_over_before_it_began_has_a_real_status() -> None:
    relay = ResponsesRelay(ScriptedReply(), exchange(), created=7, on_close=lambda _: None)
    with pytest.raises(GatewayError, match="without any content"):
        await relay.prime()
