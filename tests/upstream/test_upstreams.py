import contextlib
import random

import pytest
import trio

from appliance.domain.secret import Secret
from appliance.domain.targets import Address, Endpoint
from appliance.errors import ConnectFailed, ConnectionLost, ProtocolViolation, UpstreamTimeout
from appliance.upstream.deadlines import Deadlines
from appliance.upstream.upstreams import OutRequest, Upstreams
from tests.fakes.scripted_http import EVENTS, OK, Link, ScriptedHttp, always, chunk, once, reply

GET = OutRequest("GET", "/v1/models")
OFF = Deadlines()


async def stream_forever(link: Link) -> None:
    while await link.request():
        await link.send(EVENTS)
        while True:
            await link.send(chunk(b"data: x\n\n"))
            await trio.sleep(0.001)


async def test_a_request_goes_out_with_host_framing_prefix_and_credential() -> None:
    async with ScriptedHttp(always(OK)) as server:
        address = Address("http", "127.0.0.1", server.address.port, "/sub")
        endpoint = Endpoint(address, Secret("sk-engine"))
        headers = [("Authorization", "Bearer client"), ("host", "evil"), ("content-length", "9")]
        upstreams = Upstreams()
        answer = await upstreams.send(endpoint, OutRequest("POST", "/v1/x?y", headers, b"body", "r"), OFF)
        assert await answer.read(10) == b"ok"
        expected = (
            f"POST /sub/v1/x?y HTTP/1.1\r\nhost: {address.authority}\r\nx-request-id: r\r\n"
            "accept-encoding: identity\r\nauthorization: Bearer sk-engine\r\ncontent-length: 4\r\n\r\nbody"
        )
        assert server.requests == [expected.encode()]
        await upstreams.aclose()


async def test_connections_are_counted_under_the_name_of_whose_server_it_is() -> None:
    async with ScriptedHttp(always(OK)) as server:
        upstreams = Upstreams()
        for _ in range(3):
            answer = await upstreams.send(server.endpoint, GET, OFF, name="qwen")
            assert await answer.read(10) == b"ok"
        held = await upstreams.send(server.endpoint, GET, OFF, name="qwen")
        assert upstreams.takings() == {("qwen", "opened"): 1, ("qwen", "reused"): 3, ("qwen", "dead"): 0}
        assert upstreams.connections() == {("qwen", "leased"): 1, ("qwen", "idle"): 0, ("qwen", "waiting"): 0}
        await held.aclose()
        await upstreams.aclose()
        assert upstreams.connections()["qwen", "leased"] == 0


async def test_headers_of_the_connection_stay_behind() -> None:
    wire = reply(200, b"", "Connection: keep-alive, X-Hop", "X-Hop: 1", "Keep-Alive: timeout=5", "X-End: 2")
    async with ScriptedHttp(always(wire)) as server:
        upstreams = Upstreams()
        answer = await upstreams.send(server.endpoint, GET, OFF)
        assert answer.headers == [("content-length", "0"), ("x-end", "2")]
        await answer.aclose()
        await upstreams.aclose()


async def test_connections_are_reused_and_one_that_went_stale_is_replaced() -> None:
    async with ScriptedHttp(once(OK), always(OK)) as server:
        upstreams = Upstreams()
        for _ in range(3):
            assert await (await upstreams.send(server.endpoint, GET, OFF)).read(10) == b"ok"
            await trio.sleep(0.02)
        assert server.accepted == 2
        await upstreams.aclose()


async def test_a_reused_connection_that_breaks_on_the_second_request_is_retried_once() -> None:
    async def dies_on_second(link: Link) -> None:
        await link.request()
        await link.send(OK)
        await link.request()

    async with ScriptedHttp(dies_on_second, dies_on_second) as server:
        upstreams = Upstreams()
        for _ in range(2):
            assert await (await upstreams.send(server.endpoint, GET, OFF)).read(10) == b"ok"
        assert (server.accepted, len(server.requests)) == (2, 3)
        await upstreams.aclose()


async def test_a_body_ends_with_nothing_again_and_again_and_a_closed_reply_does_not_pretend_to_end() -> None:
    async with ScriptedHttp(always(OK)) as server:
        upstreams = Upstreams()
        answer = await upstreams.send(server.endpoint, GET, OFF)
        assert [await answer.receive() for _ in range(3)] == [b"ok", b"", b""]
        await answer.aclose()
        await answer.aclose()
        other = await upstreams.send(server.endpoint, GET, OFF)
        await other.aclose()
        with pytest.raises(ConnectionLost):
            await other.receive()
        await upstreams.aclose()


async def test_a_connection_is_free_as_soon_as_the_reply_has_arrived() -> None:
    async with ScriptedHttp(always(OK)) as server:
        upstreams = Upstreams()
        held = []
        for _ in range(3):
            held.append(await upstreams.send(server.endpoint, GET, OFF, max_connections=1))
            assert await held[-1].receive() == b"ok"
        assert server.accepted == 1
        for answer in held:
            await answer.aclose()
            assert await answer.receive() == await answer.read(0) == b""
        assert "leased=0 idle=1" in repr(upstreams)
        await upstreams.aclose()


async def test_what_is_left_after_the_first_piece_can_be_read_at_once() -> None:
    async def script(link: Link) -> None:
        while await link.request():
            await link.send(EVENTS, chunk(b"one"))
            await trio.sleep(0.02)
            await link.send(chunk(b"two"), chunk(b"three") + b"0\r\n\r\n")

    async with ScriptedHttp(script) as server:
        upstreams = Upstreams()
        for _ in range(2):
            answer = await upstreams.send(server.endpoint, GET, OFF)
            assert (await answer.receive(), await answer.read(8)) == (b"one", b"twothree")
        assert server.accepted == 1
        await upstreams.aclose()


async def test_replies_that_arrive_at_the_same_time_do_not_mix() -> None:
    async def echo(link: Link) -> None:
        while got := await link.request():
            body = got.partition(b"\r\n\r\n")[2]
            await link.send(reply(200, body)[:-1])
            await trio.lowlevel.checkpoint()
            await link.send(body[-1:])

    async with ScriptedHttp(echo) as server:
        upstreams = Upstreams()

        async def ask(number: int) -> None:
            for turn in range(20):
                body = b"%d/%d " % (number, turn) * (number * 100 + 1)
                answer = await upstreams.send(server.endpoint, OutRequest("POST", "/", body=body), OFF)
                assert await answer.read(10**6) == body

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(ask, number)
        await upstreams.aclose()


async def test_silence_inside_the_body_is_a_between_bytes_timeout_and_closes() -> None:
    async def script(link: Link) -> None:
        await link.request()
        await link.send(EVENTS, chunk(b"one"))
        await link.gone()

    async with ScriptedHttp(script) as server:
        upstreams = Upstreams()
        answer = await upstreams.send(server.endpoint, GET, Deadlines(between_bytes=0.05))
        assert await answer.receive() == b"one"
        with pytest.raises(UpstreamTimeout) as caught:
            await answer.receive()
        assert caught.value.stage == "between_bytes"
        with trio.fail_after(1):
            await server.closed()


async def test_the_total_deadline_cuts_a_busy_stream() -> None:
    async with ScriptedHttp(stream_forever) as server:
        upstreams = Upstreams()
        answer = await upstreams.send(server.endpoint, GET, Deadlines(between_bytes=5, total=0.1))
        with pytest.raises(UpstreamTimeout) as caught:
            await answer.read(10**9)
        assert caught.value.stage == "total"


async def test_closing_or_cancelling_before_the_end_closes_the_socket() -> None:
    async with ScriptedHttp(stream_forever) as server:
        upstreams = Upstreams()
        answer = await upstreams.send(server.endpoint, GET, OFF)
        with trio.CancelScope() as scope:
            scope.cancel()
            await answer.aclose()
        with trio.fail_after(1):
            await server.closed()
        answer = await upstreams.send(server.endpoint, GET, OFF)
        with trio.move_on_after(0.05):
            await answer.read(10**9)
        with trio.fail_after(1):
            await server.closed()
        assert "leased=0 idle=0" in repr(upstreams)


async def test_a_reply_larger_than_asked_for_is_refused_and_closed() -> None:
    async with ScriptedHttp(always(OK)) as server:
        upstreams = Upstreams()
        with pytest.raises(ProtocolViolation, match="larger than 1 bytes"):
            await (await upstreams.send(server.endpoint, GET, OFF)).read(1)
        with trio.fail_after(1):
            await server.closed()


async def test_pools_of_addresses_that_disappear_are_dropped(autojump_clock: trio.testing.MockClock) -> None:
    upstreams = Upstreams()
    for port in range(1, 20):
        with pytest.raises(ConnectFailed):
            await upstreams.send(Endpoint(Address("unix", f"/nowhere/{port}")), GET, OFF)
        await trio.sleep(2)
    assert len(upstreams._pools) == 1


async def test_after_closing_nothing_is_sent() -> None:
    upstreams = Upstreams()
    await upstreams.aclose()
    with pytest.raises(ConnectFailed):
        await upstreams.send(Endpoint(Address("http", "127.0.0.1", 1)), GET, OFF)


async def test_deadlines_and_cancellations_at_the_same_time_leave_nothing_behind() -> None:
    dice = random.Random(4)
    async with ScriptedHttp(stream_forever) as server:
        upstreams = Upstreams()

        async def one(seconds: float, deadlines: Deadlines) -> None:
            with trio.move_on_after(seconds), contextlib.suppress(UpstreamTimeout):
                answer = await upstreams.send(server.endpoint, GET, deadlines, max_connections=5)
                try:
                    await answer.read(10**9)
                finally:
                    await answer.aclose()

        for _ in range(50):
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    deadlines = Deadlines(*(dice.choice((0, 0.003, 0.01, 60)) for _ in range(4)))
                    nursery.start_soon(one, dice.random() * 0.03, deadlines)
        assert "leased=0 idle=0 waiting=0" in repr(upstreams)
        assert upstreams._shared.alarm.waiting == 0
        with trio.fail_after(10):
            await server.closed()


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_ten_thousand_of_random_cancellations_over_sockets_leave_no_connection_behind() -> None:
    dice = random.Random(3)
    async with ScriptedHttp(stream_forever) as server:
        upstreams = Upstreams()

        async def one(seconds: float) -> None:
            with trio.move_on_after(seconds):
                answer = await upstreams.send(server.endpoint, GET, OFF, max_connections=10)
                try:
                    await answer.read(10**9)
                finally:
                    await answer.aclose()

        for _ in range(500):
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(one, dice.random() * 0.02)
        assert "leased=0 idle=0 waiting=0" in repr(upstreams)
        with trio.fail_after(2):
            await server.closed()
