import json

import pytest
import trio

from appliance.domain.calls import Usage
from appliance.errors import ConnectionLost, GatewayError
from appliance.gateway.accounting import Exchange
from appliance.gateway.relay import Relay
from tests.fakes.accounts import exchange
from tests.fakes.upstream_reply import ScriptedReply

ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
HI = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}\n\n'
DONE = b"data: [DONE]\n\n"


async def run(*pieces: bytes | Exception, hide_usage: bool = True) -> tuple[bytes, Relay, Exchange, ScriptedReply]:
    account, upstream = exchange(), ScriptedReply(*pieces)
    relay = Relay(upstream, account, hide_usage=hide_usage, on_close=lambda _: None)
    await relay.prime()
    out = b"".join([part async for part in relay])
    await relay.aclose()
    return out, relay, account, upstream


async def test_a_good_stream_passes_byte_for_byte() -> None:
    out, relay, account, upstream = await run(ROLE, HI + STOP, DONE)
    assert out == ROLE + HI + STOP + DONE
    assert (relay.broken, account.settled, upstream.closed) == (False, True, True)


async def test_every_split_gives_the_same_bytes() -> None:
    whole = ROLE + HI + STOP + USAGE + DONE
    for at in range(1, len(whole)):
        out, *_ = await run(whole[:at], whole[at:], hide_usage=False)
        assert out == whole


async def test_usage_is_counted_and_hidden_from_a_client_that_did_not_ask() -> None:
    out, _, account, _ = await run(ROLE, HI, STOP, USAGE, DONE)
    assert out == ROLE + HI + STOP + DONE
    assert account.usage == Usage(9, 4)


async def test_usage_is_shown_to_a_client_that_asked() -> None:
    out, *_ = await run(ROLE, HI, STOP, USAGE, DONE, hide_usage=False)
    assert USAGE in out


async def test_comments_of_the_engine_are_dropped() -> None:
    out, *_ = await run(b": ping\n\n", ROLE, b":\n\n", HI, STOP, DONE)
    assert out == ROLE + HI + STOP + DONE


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        ((ROLE, HI), "stream_truncated"),
        ((ROLE, HI, b'data: {"cho'), "stream_truncated"),
        ((ROLE, HI, ConnectionLost("reset", before_reply=False)), "backend_died"),
        ((ROLE, HI, b"data: not json\n\n"), "upstream_protocol"),
    ],
)
async def test_an_early_end_is_a_typed_error_and_never_done(pieces: tuple[bytes | Exception, ...], code: str) -> None:
    out, relay, account, _ = await run(*pieces)
    error = json.loads(out.removeprefix(ROLE + HI).removeprefix(b"data: "))["error"]
    assert error["code"] == code
    assert b"[DONE]" not in out
    assert relay.broken
    assert account.usage == Usage(output=1, estimated=True)


@pytest.mark.parametrize("pieces", [(DONE,), (), (b": ping\n\n",)])
async def test_nothing_at_all_is_an_error_with_a_real_status(pieces: tuple[bytes, ...]) -> None:
    with pytest.raises(GatewayError) as caught:
        await run(*pieces)
    assert caught.value.code == "empty_response"


async def test_an_engines_error_event_is_passed_on_and_its_done_is_not() -> None:
    error = b'data: {"error":{"message":"EngineCore died","code":500}}\n\n'
    out, relay, _, _ = await run(ROLE, HI, error, DONE)
    assert out == ROLE + HI + error
    assert relay.broken


async def test_an_end_in_the_middle_of_an_event_is_no_good_end() -> None:
    out, relay, _, _ = await run(ROLE, HI, STOP, b'data: {"choi')
    assert relay.broken
    assert b"[DONE]" not in out


async def test_with_several_choices_each_needs_its_finish_reason() -> None:
    other = HI.replace(b'"index":0', b'"index":1')
    out, relay, _, _ = await run(ROLE, HI, other, STOP)
    assert relay.broken
    assert b"[DONE]" not in out
    out, relay, _, _ = await run(ROLE, HI, other, STOP, STOP.replace(b'"index":0', b'"index":1'))
    assert out.endswith(DONE)


async def test_a_finished_answer_without_done_is_given_one() -> None:
    out, relay, _, _ = await run(ROLE, HI, STOP)
    assert out == ROLE + HI + STOP + DONE
    assert not relay.broken


async def test_leaving_early_closes_the_upstream_and_settles_once() -> None:
    account, upstream = exchange(), ScriptedReply(ROLE, HI, HI)
    relay = Relay(upstream, account, hide_usage=True, on_close=lambda _: None)
    await relay.prime()
    assert await anext(relay) == ROLE
    assert await anext(relay) == HI
    with trio.CancelScope() as scope:
        scope.cancel()
        await relay.aclose()
    await relay.aclose()
    assert upstream.closed
    assert account.settled
    assert account.usage.estimated


async def test_an_interrupted_stream_ends_with_the_error_event() -> None:
    account, upstream = exchange(), ScriptedReply(ROLE, HI, HI)
    relay = Relay(upstream, account, hide_usage=True, on_close=lambda _: None)
    await relay.prime()
    assert await anext(relay) == ROLE
    relay.interrupt(GatewayError("draining", "going away"))
    assert json.loads((await anext(relay)).removeprefix(b"data: "))["error"]["code"] == "draining"
    assert relay.broken
    await relay.aclose()
