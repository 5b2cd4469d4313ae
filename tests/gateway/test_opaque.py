import json

import pytest

from appliance.domain.calls import Usage
from appliance.errors import ConnectionLost, GatewayError
from appliance.gateway.accounting import Exchange
from appliance.gateway.opaque import OpaqueBytes, OpaqueEvents
from tests.fakes.accounts import exchange
from tests.fakes.upstream_reply import ScriptedReply

DELTA = b'data: {"type":"transcript.text.delta","delta":"Hi"}\n\n'
DONE = b'data: {"type":"transcript.text.done","usage":{"type":"tokens","input_tokens":14,"output_tokens":45}}\n\n'
LOST = ConnectionLost("reset", before_reply=False)


async def opened(kind: type[OpaqueEvents], *pieces: bytes | Exception) -> tuple[OpaqueEvents, Exchange, ScriptedReply]:
    account, upstream = exchange(), ScriptedReply(*pieces)
    relay = kind(upstream, account, on_close=lambda _: None)
    await relay.prime()
    return relay, account, upstream


async def test_events_pass_whole_and_usage_is_taken_from_them() -> None:
    relay, account, upstream = await opened(
        OpaqueEvents, DELTA[:9], DELTA[9:] + b": ping\n\n", DONE, b"data: [DONE]\n\n"
    )
    assert b"".join([part async for part in relay]) == DELTA + DONE + b"data: [DONE]\n\n"
    await relay.aclose()
    assert (relay.broken, account.settled, account.usage, upstream.closed) == (False, True, Usage(14, 45), True)


@pytest.mark.parametrize(("last", "code"), [(LOST, "backend_died"), (b"data: {", "stream_truncated")])
async def test_events_that_break_off_end_with_an_error(last: bytes | Exception, code: str) -> None:
    relay, account, _ = await opened(OpaqueEvents, DELTA, last)
    out = b"".join([part async for part in relay])
    assert json.loads(out.rpartition(b"data: ")[2])["error"]["code"] == code
    assert (relay.broken, account.settled) == (True, True)


async def test_bytes_pass_as_they_are() -> None:
    relay, account, upstream = await opened(OpaqueBytes, b"ID3\n\n\x00", b"\n\ndata", b"\xff")
    await relay.pump(lambda _: True)
    assert b"".join([part async for part in relay]) == b"ID3\n\n\x00\n\ndata\xff"
    await relay.aclose()
    assert (relay.broken, account.settled, account.bytes_out, upstream.closed) == (False, True, 13, True)


async def test_bytes_that_break_off_break_the_connection() -> None:
    relay, account, _ = await opened(OpaqueBytes, b"ID3", LOST)
    assert await anext(relay) == b"ID3"
    assert (relay.keep_alive(), relay.keep_alive()) == (b"", b"")  # silence is a part of sound
    with pytest.raises(ConnectionError):
        await anext(relay)
    assert (relay.broken, account.settled) == (True, True)


async def test_bytes_are_interrupted_when_the_server_goes_away() -> None:
    relay, account, _ = await opened(OpaqueBytes, b"ID3", b"more")
    relay.interrupt(GatewayError("draining", "going away"))
    assert await anext(relay) == b"ID3"
    with pytest.raises(ConnectionError, match="draining"):
        await anext(relay)
    assert account.settled


@pytest.mark.parametrize("kind", [OpaqueEvents, OpaqueBytes])
async def test_nothing_at_all_has_a_real_status(kind: type[OpaqueEvents]) -> None:
    with pytest.raises(GatewayError, match="answered with nothing"):
        await opened(kind)


@pytest.mark.parametrize("kind", [OpaqueEvents, OpaqueBytes])
async def test_a_client_that_leaves_settles_the_account(kind: type[OpaqueEvents]) -> None:
    relay, account, upstream = await opened(kind, DELTA, DELTA)
    await anext(relay)
    await relay.aclose()
    assert (account.settled, upstream.closed) == (True, True)
