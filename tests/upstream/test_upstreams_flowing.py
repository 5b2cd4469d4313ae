"""Replies whose bodies flow: `pump`, where test_upstreams.py has `receive`."""

import contextlib
import random
import ssl
from collections.abc import Callable

import pytest
import trio
import trio.testing
import trustme

from appliance.errors import ConnectionLost, ProtocolViolation, UpstreamError, UpstreamTimeout
from appliance.upstream.deadlines import Deadlines
from appliance.upstream.upstreams import OutRequest, UpstreamReply, Upstreams
from tests.fakes.scripted_http import EVENTS, OK, Link, ScriptedHttp, always, chunk, once

GET = OutRequest("GET", "/v1/models")
OFF = Deadlines()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest, authority: trustme.CA) -> ssl.SSLContext | None:
    """Everything here holds for both kinds of connections."""
    if request.param == "plain":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def upstreams(authority: trustme.CA) -> Upstreams:
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return Upstreams(ssl_context=trust)


def keep(got: list[bytes], most: int = 10**9) -> Callable[[bytes], bool]:
    def taken(data: bytes) -> bool:
        got.append(data)
        return len(got) < most

    return taken


async def counting(link: Link) -> None:
    while await link.request():
        await link.send(EVENTS)
        for number in range(10):
            await link.send(chunk(b"%d," % number))
            await trio.sleep(0.001)
        await link.send(b"0\r\n\r\n")


COUNTED = b"".join(b"%d," % number for number in range(10))


async def stream_forever(link: Link) -> None:
    while await link.request():
        await link.send(EVENTS)
        while True:
            await link.send(chunk(b"data: x\n\n"))
            await trio.sleep(0.001)


async def test_a_reply_that_has_flowed_to_its_end_gives_its_connection_back(
    tls: ssl.SSLContext | None, upstreams: Upstreams
) -> None:
    async with ScriptedHttp(counting, tls=tls) as server:
        for _ in range(3):
            answer, got = await upstreams.send(server.endpoint, GET, OFF), list[bytes]()
            while not answer.ended:
                await answer.pump(keep(got))
            assert b"".join(got) == COUNTED
            await answer.pump(keep(got, 0))
            assert await answer.receive() == b""
            await answer.aclose()
        assert server.accepted == 1
        assert "leased=0 idle=1" in repr(upstreams)
        await upstreams.aclose()


async def test_flowing_and_receiving_can_take_turns_in_any_order(
    tls: ssl.SSLContext | None, upstreams: Upstreams
) -> None:
    dice = random.Random(2)
    async with ScriptedHttp(counting, tls=tls) as server:
        for _ in range(20):
            answer, got = await upstreams.send(server.endpoint, GET, OFF), list[bytes]()
            while not answer.ended:
                if dice.random() < 0.4:
                    got.append(await answer.receive())
                else:
                    await answer.pump(keep(got, len(got) + dice.randrange(1, 4)))
            assert b"".join(got) == COUNTED
        assert server.accepted == 1
        await upstreams.aclose()


async def test_what_is_here_already_flows_first(upstreams: Upstreams) -> None:
    async with ScriptedHttp(always(OK)) as server:
        for most in (1, 2):
            answer, got = await upstreams.send(server.endpoint, GET, OFF), list[bytes]()
            await answer.pump(keep(got, most))
            assert (got, answer.ended) == ([b"ok"], True)
        assert server.accepted == 1
        await upstreams.aclose()


@pytest.mark.parametrize(
    ("wire", "error"), [(EVENTS + chunk(b"x"), ConnectionLost), (EVENTS + chunk(b"x") + b"zz\r\n", ProtocolViolation)]
)
async def test_what_breaks_closes_the_connection(
    tls: ssl.SSLContext | None, upstreams: Upstreams, wire: bytes, error: type[UpstreamError]
) -> None:
    async with ScriptedHttp(once(wire), tls=tls) as server:
        with pytest.raises(error):  # noqa: PT012 - the head and the bytes may come together
            answer = await upstreams.send(server.endpoint, GET, OFF)
            await answer.pump(lambda data: True)
            await answer.receive()
        assert "leased=0 idle=0" in repr(upstreams)


async def test_what_the_taker_raises_is_raised_and_closes_the_connection(
    tls: ssl.SSLContext | None, upstreams: Upstreams
) -> None:
    async with ScriptedHttp(counting, tls=tls) as server:
        for at in (1, 3):
            got: list[bytes] = []

            def taken(data: bytes, got: list[bytes] = got, at: int = at) -> bool:
                got.append(data)
                if len(got) == at:
                    raise BrokenPipeError("the reader has left")
                return True

            answer = await upstreams.send(server.endpoint, GET, OFF)
            with pytest.raises(BrokenPipeError):
                await answer.pump(taken)
            with pytest.raises(ConnectionLost):
                await answer.pump(taken)
            with trio.fail_after(5):
                await server.closed()
        assert "leased=0 idle=0" in repr(upstreams)


async def test_silence_and_the_total_end_a_stream_that_flows(tls: ssl.SSLContext | None, upstreams: Upstreams) -> None:
    async def stall(link: Link) -> None:
        await link.request()
        await link.send(EVENTS, chunk(b"one"))
        await link.gone()

    async with ScriptedHttp(stall, stream_forever, tls=tls) as server:
        for deadlines, stage in (
            (Deadlines(between_bytes=0.3), "between_bytes"),
            (Deadlines(between_bytes=20, total=0.5), "total"),
        ):
            answer = await upstreams.send(server.endpoint, GET, deadlines)
            with pytest.raises(UpstreamTimeout) as caught:
                await answer.pump(lambda data: True)
            assert caught.value.stage == stage
            with trio.fail_after(5):
                await server.closed()


async def test_closing_a_reply_that_flows_is_a_lost_connection(upstreams: Upstreams) -> None:
    async with ScriptedHttp(stream_forever) as server, trio.open_nursery() as nursery:
        answer = await upstreams.send(server.endpoint, GET, OFF)

        async def flow() -> None:
            with pytest.raises(ConnectionLost):
                await answer.pump(lambda data: True)

        nursery.start_soon(flow)
        await trio.sleep(0.02)
        await answer.aclose()
        with trio.fail_after(5):
            await server.closed()
        assert upstreams._shared.readiness.flowing == 0


async def flow(answer: UpstreamReply, dice: random.Random) -> None:
    """Iterates and flows in turn, as the door does, with a reader that is sometimes too slow."""
    try:
        while await answer.receive():
            await answer.pump(lambda data: dice.random() < 0.8)
            if dice.random() < 0.3:
                await trio.sleep(dice.random() * 0.002)
    finally:
        await answer.aclose()


async def test_deadlines_and_cancellations_at_the_same_time_leave_nothing_behind(upstreams: Upstreams) -> None:
    dice = random.Random(4)
    async with ScriptedHttp(counting, stream_forever, counting, stream_forever) as server:

        async def one(seconds: float, deadlines: Deadlines) -> None:
            with trio.move_on_after(seconds), contextlib.suppress(UpstreamTimeout):
                await flow(await upstreams.send(server.endpoint, GET, deadlines, max_connections=5), dice)

        for _ in range(50):
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    deadlines = Deadlines(*(dice.choice((0, 0.003, 0.01, 60)) for _ in range(4)))
                    nursery.start_soon(one, dice.random() * 0.03, deadlines)
        assert "leased=0" in repr(upstreams)
        assert (upstreams._shared.readiness.flowing, upstreams._shared.alarm.waiting) == (0, 0)
        await upstreams.aclose()
        with trio.fail_after(10):
            await server.closed()


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_thousands_of_random_cancellations_of_streams_that_flow_leave_no_connection_behind(
    upstreams: Upstreams,
) -> None:
    dice = random.Random(3)
    async with ScriptedHttp(stream_forever) as server:

        async def one(seconds: float) -> None:
            with trio.move_on_after(seconds):
                await flow(await upstreams.send(server.endpoint, GET, OFF, max_connections=10), dice)

        for _ in range(200):
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(one, dice.random() * 0.02)
        assert "leased=0 idle=0 waiting=0" in repr(upstreams)
        assert upstreams._shared.readiness.flowing == 0
        with trio.fail_after(10):
            await server.closed()
