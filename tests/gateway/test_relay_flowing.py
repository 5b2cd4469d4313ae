"""A relay whose stream flows: `pump`, as the door uses it between two rounds of its loop."""

import json
import random

import pytest
import trio
import trio.testing

from appliance.domain.calls import Usage
from appliance.errors import ConnectionLost, GatewayError, UpstreamTimeout
from appliance.gateway.accounting import Exchange
from appliance.gateway.engine_reply import EngineReply
from appliance.gateway.relay import Relay
from appliance.upstream.deadlines import Deadlines
from appliance.upstream.upstreams import OutRequest, Upstreams
from appliance.wire import token_shape
from appliance.wire.chunk import Chunk
from appliance.wire.token_shape import TokenShape
from tests.fakes.accounts import exchange
from tests.fakes.scripted_http import EVENTS, Link, ScriptedHttp, chunk
from tests.fakes.upstream_reply import ScriptedReply

HI = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}\n\n'
DONE = b"data: [DONE]\n\n"
GOING = GatewayError("draining", "going away")
POST = OutRequest("POST", "/v1/chat/completions", body=b"{}")


async def primed(upstream: EngineReply, account: Exchange | None = None) -> Relay:
    relay = Relay(upstream, account or exchange(), hide_usage=True, on_close=lambda _: None)
    await relay.prime()
    return relay


def code(event: bytes) -> str:
    return str(json.loads(event.removeprefix(b"data: "))["error"]["code"])


class Ear:
    """What was offered, and whether that was said to be the last of it."""

    def __init__(self, relay: Relay, *, deaf_after: int = 10**9) -> None:
        self.relay, self.deaf_after = relay, deaf_after
        self.got: list[tuple[bytes, bool]] = []

    def __call__(self, piece: bytes) -> bool:
        self.got.append((piece, self.relay.ended))
        return len(self.got) < self.deaf_after


class Silent(ScriptedReply):
    """Says nothing after its last piece."""

    async def receive(self) -> bytes:
        return await super().receive() or await self.silence()


async def test_the_last_offer_is_known_to_be_the_last_when_it_is_made() -> None:
    relay = await primed(ScriptedReply(HI, HI + STOP, USAGE, DONE))
    assert await anext(relay) == HI
    ear = Ear(relay)
    await relay.pump(ear)
    assert ear.got == [(HI + STOP, False), (DONE, True)]
    await relay.pump(ear)
    with pytest.raises(StopAsyncIteration):
        await anext(relay)
    assert len(ear.got) == 2
    await relay.aclose()


async def test_a_first_piece_that_was_not_asked_for_yet_is_not_overtaken() -> None:
    relay = await primed(ScriptedReply(HI, STOP, DONE))
    ear = Ear(relay)
    await relay.pump(ear)
    assert ear.got == []
    assert await anext(relay) == HI
    await relay.aclose()


async def test_after_done_nothing_more_is_taken_from_the_engine() -> None:
    upstream = ScriptedReply(HI, STOP, DONE, HI, HI)
    relay = await primed(upstream)
    ear = Ear(relay)
    await anext(relay)
    await relay.pump(ear)
    assert [piece for piece, _ in ear.got] == [STOP, DONE]
    assert upstream._pieces == [HI, HI]
    await relay.aclose()


async def test_a_reader_that_is_too_slow_gets_nothing_more_until_it_asks() -> None:
    relay = await primed(ScriptedReply(HI, *[HI] * 5, STOP, DONE))
    await anext(relay)
    for deaf_after in (1, 3):
        ear = Ear(relay, deaf_after=deaf_after)
        await relay.pump(ear)
        assert len(ear.got) == deaf_after
    assert await anext(relay) == HI
    await relay.aclose()


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        (ConnectionLost("reset", before_reply=False), "backend_died"),
        (UpstreamTimeout("between_bytes", 5), "backend_timeout"),
        (b"data: not json\n\n", "upstream_protocol"),
        (b"data: " + b"x" * 2**21, "upstream_protocol"),
    ],
)
async def test_trouble_while_flowing_is_the_next_thing_that_iterating_says(
    trouble: bytes | Exception, expected: str
) -> None:
    account = exchange()
    relay = await primed(ScriptedReply(HI, HI, trouble, STOP, DONE), account)
    await anext(relay)
    ear = Ear(relay)
    await relay.pump(ear)
    assert (ear.got, relay.ended) == ([(HI, False)], False)
    event = await anext(relay)
    assert (code(event), relay.ended, relay.broken) == (expected, True, True)
    await relay.pump(ear)
    with pytest.raises(StopAsyncIteration):
        await anext(relay)
    assert (len(ear.got), account.settled, account.usage) == (1, True, Usage(output=2, estimated=True))
    await relay.aclose()


@pytest.mark.parametrize(("last", "good"), [(STOP, True), (HI, False), (STOP + b"data: {", False)])
async def test_an_end_without_done_is_judged_when_iterating_goes_on(last: bytes, good: bool) -> None:
    relay = await primed(ScriptedReply(HI, last))
    await anext(relay)
    await relay.pump(Ear(relay))
    flowed_to_the_end = relay.ended
    event = await anext(relay)
    assert not flowed_to_the_end
    assert (event == DONE) if good else (code(event) == "stream_truncated")
    assert (relay.ended, relay.broken) == (True, not good)
    await relay.aclose()


async def test_an_interruption_ends_flowing_at_once() -> None:
    relay = await primed(Silent(HI, HI))
    await anext(relay)
    ear = Ear(relay)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(relay.pump, ear)
            await trio.testing.wait_all_tasks_blocked()
            relay.interrupt(GOING)
    assert ear.got == [(HI, False)]
    await relay.pump(ear)
    assert code(await anext(relay)) == "draining"
    assert relay.broken
    await relay.aclose()


@pytest.mark.parametrize("ending", [STOP + DONE, STOP])
async def test_an_interruption_by_the_reader_itself_is_heeded_and_one_after_the_end_changes_nothing(
    ending: bytes,
) -> None:
    relay = await primed(ScriptedReply(HI, ending))
    await anext(relay)

    def offer(piece: bytes) -> bool:
        relay.interrupt(GOING)
        return True

    await relay.pump(offer)
    rest = [part async for part in relay]
    assert [code(part) for part in rest] == ([] if ending.endswith(DONE) else ["draining"])
    assert relay.broken is bool(rest)
    await relay.aclose()


async def test_what_the_reader_raises_is_raised_and_the_account_is_settled_on_closing() -> None:
    account, upstream = exchange(), ScriptedReply(HI, HI, HI)
    relay = await primed(upstream, account)
    await anext(relay)

    def gone(piece: bytes) -> bool:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        await relay.pump(gone)
    assert not account.settled
    await relay.aclose()
    assert (account.settled, account.usage, upstream.closed) == (True, Usage(output=2, estimated=True), True)


# Over real sockets:


async def engine(link: Link) -> None:
    """Streams that are cut anywhere, whole in the end."""
    dice = random.Random(6)
    while await link.request():
        whole = HI * 30 + STOP + USAGE + DONE
        await link.send(EVENTS)
        while whole:
            size = dice.randrange(1, 200)
            await link.send(chunk(whole[:size]))
            whole = whole[size:]
            await trio.sleep(dice.random() * 0.002)
        await link.send(b"0\r\n\r\n")


async def test_over_sockets_every_way_of_listening_hears_the_same_and_connections_come_back() -> None:
    dice, upstreams = random.Random(8), Upstreams()
    async with ScriptedHttp(engine) as server:

        async def listen() -> None:
            account = exchange()
            relay = await primed(await upstreams.send(server.endpoint, POST, Deadlines(between_bytes=60)), account)
            out: list[bytes] = []

            def offer(piece: bytes) -> bool:
                out.append(piece)
                return dice.random() < 0.7

            async for part in relay:
                out.append(part)
                await relay.pump(offer)
            await relay.aclose()
            assert b"".join(out) == HI * 30 + STOP + DONE
            assert (account.usage, relay.broken) == (Usage(9, 4), False)

        with trio.fail_after(40):
            for _ in range(3):
                async with trio.open_nursery() as nursery:
                    for _ in range(20):
                        nursery.start_soon(listen)
        assert server.accepted <= 30
        await upstreams.aclose()


async def test_over_sockets_interruptions_and_leaving_leave_nothing_behind() -> None:
    dice, upstreams = random.Random(9), Upstreams()
    ends: set[str] = set()

    async def listen(relay: Relay) -> None:
        out: list[bytes] = []

        def offer(piece: bytes) -> bool:
            out.append(piece)
            return True

        try:
            async for part in relay:
                out.append(part)
                await relay.pump(offer)
            ends.add(code(out[-1]) if relay.broken else "done")
        finally:
            await relay.aclose()

    async def one(how: str, server: ScriptedHttp) -> None:
        relay = await primed(await upstreams.send(server.endpoint, POST, Deadlines(between_bytes=60)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, relay)
            await trio.sleep(dice.random() * 0.05)
            if how == "leave":
                nursery.cancel_scope.cancel()
            elif how == "interrupt":
                relay.interrupt(GOING)

    async with ScriptedHttp(engine) as server:
        with trio.fail_after(40):
            async with trio.open_nursery() as nursery:
                for _ in range(150):
                    nursery.start_soon(one, dice.choice(["leave", "stay", "interrupt"]), server)
                    await trio.sleep(0.001)
        assert ends == {"done", "draining"}
        assert "leased=0" in repr(upstreams)
        assert upstreams._shared.readiness.flowing == 0
        await upstreams.aclose()
        with trio.fail_after(10):
            await server.closed()


async def test_a_stream_whose_events_differ_is_not_learnt_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [HI.replace(b'{"choices"', b'{"id":"%d","choices"' % number) for number in range(50)]
    learnt: list[bytes] = []

    def shape_of(data: bytes, chunk: Chunk) -> TokenShape | None:
        learnt.append(data)
        return token_shape.shape_of(data, chunk)

    monkeypatch.setattr("appliance.gateway.relay.shape_of", shape_of)
    relay = await primed(ScriptedReply(*events, STOP, DONE))
    assert b"".join([piece async for piece in relay]) == b"".join(events) + STOP + DONE
    assert len(learnt) == 8
