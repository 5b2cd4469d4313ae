"""A connection whose stream flows: `pump`, where test_connection.py has `receive`."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from appliance.errors import ConnectionLost, ProtocolViolation, UpstreamTimeout
from appliance.upstream.connection import OutRequest, PlainConnection, open_plain
from appliance.upstream.deadlines import Countdown, Deadlines
from tests.fakes.scripted_http import EVENTS, Link, ScriptedHttp, chunk, once

GET = OutRequest("GET", "/")


async def connect(server: ScriptedHttp) -> PlainConnection:
    return await open_plain(server.address, Countdown(Deadlines()))


async def drain(connection: PlainConnection) -> None:
    while await connection.receive():
        pass


async def silent_after_one(link: Link) -> None:
    await link.request()
    await link.send(EVENTS, chunk(b"one"))
    await link.gone()


def keep(got: list[bytes], most: int = 10**6) -> Callable[[bytes], bool]:
    """Takes pieces until there are that many."""

    def taken(data: bytes) -> bool:
        got.append(data)
        return len(got) < most

    return taken


async def test_a_stream_flows_to_its_end_over_tcp_and_unix_again_and_again(tmp_path: Path) -> None:
    async def script(link: Link) -> None:
        while await link.request():
            await link.send(EVENTS)
            for number in range(20):
                await link.send(chunk(b"%d," % number))
                await trio.sleep(0.001 * (number % 3))
            await link.send(b"0\r\n\r\n")

    for path in (None, tmp_path / "s"):
        async with ScriptedHttp(script, path=path) as server:
            connection = await connect(server)
            for _ in range(3):
                await connection.exchange(GET, Countdown(Deadlines()))
                got = [connection.take()]
                with trio.fail_after(10):
                    await connection.pump(keep(got))
                assert b"".join(got) == b"".join(b"%d," % number for number in range(20))
                assert (connection.complete, connection.reusable, connection.take()) == (True, True, b"")
                await connection.pump(keep(got, 0))  # there is nothing to wait for
            assert server.accepted == 1
            await connection.aclose()


async def test_whoever_takes_no_more_gets_the_rest_later_in_either_way() -> None:
    async def script(link: Link) -> None:
        await link.request()
        await link.send(EVENTS)
        for number in range(6):
            await trio.testing.wait_all_tasks_blocked(0.005)
            await link.send(chunk(b"%d" % number))
        await link.send(b"0\r\n\r\n")
        await link.gone()

    async with ScriptedHttp(script) as server:
        connection, got = await connect(server), list[bytes]()
        await connection.exchange(GET, Countdown(Deadlines(between_bytes=30)))
        for most in (1, 3):
            await connection.pump(keep(got, most))
            assert (len(got), connection.complete) == (most, False)
        got.append(await connection.receive())
        await connection.pump(keep(got))
        assert (b"".join(got), connection.complete) == (b"012345", True)
        await connection.aclose()


async def test_a_body_without_a_length_flows_until_the_server_closes() -> None:
    async with ScriptedHttp(once(b"HTTP/1.1 200 OK\r\n\r\n", b"all of it")) as server:
        connection, got = await connect(server), list[bytes]()
        await connection.exchange(GET, Countdown(Deadlines()))
        got.append(connection.take())
        await connection.pump(keep(got))
        assert (b"".join(got), connection.complete, connection.reusable) == (b"all of it", True, False)
        await connection.aclose()


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (b"", ConnectionLost),
        (b"RESET", ConnectionLost),
        (b"5\r\nab", ConnectionLost),
        (b"zz\r\n", ProtocolViolation),
        (b"1\r\nabc", ProtocolViolation),
    ],
)
async def test_what_breaks_while_a_stream_flows_is_said_in_the_same_words(end: bytes, error: type[Exception]) -> None:
    said = []
    for way in ("receive", "pump"):
        seen = trio.Event()

        async def script(link: Link, seen: trio.Event = seen) -> None:
            await link.request()
            await link.send(EVENTS, chunk(b"one"))
            await seen.wait()
            await trio.testing.wait_all_tasks_blocked(0.005)
            link.reset() if end == b"RESET" else await link.send(end)

        async with ScriptedHttp(script) as server:
            connection = await connect(server)
            await connection.exchange(GET, Countdown(Deadlines()))
            assert await connection.receive() == b"one"
            seen.set()
            with pytest.raises(error) as caught:
                await (connection.pump(lambda data: True) if way == "pump" else drain(connection))
            said.append((str(caught.value), getattr(caught.value, "before_reply", None), connection.reusable))
            assert connection._readiness.flowing == 0
            await connection.aclose()
    assert said[0] == said[1]


async def test_each_read_renews_the_silence_that_is_allowed_and_nothing_renews_the_total(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async def script(link: Link) -> None:
        await link.request()
        await link.send(EVENTS)
        for pause in (4, 4, 4, 4, 60):
            await trio.sleep(pause)
            await link.send(chunk(b"x"))

    for deadlines, stage, pieces, after in (
        (Deadlines(between_bytes=5), "between_bytes", 4, 21),
        (Deadlines(between_bytes=5, total=10), "total", 2, 10),
        (Deadlines(between_bytes=5, total=20.5), "total", 4, 20.5),
        (Deadlines(total=9), "total", 2, 9),
        (Deadlines(between_bytes=3), "between_bytes", 0, 3),
    ):
        async with ScriptedHttp(script, path=tmp_path / f"{after}") as server:
            connection, got, start = await connect(server), list[bytes](), trio.current_time()
            await connection.exchange(GET, Countdown(deadlines))
            with pytest.raises(UpstreamTimeout) as caught:
                await connection.pump(keep(got))
            assert (caught.value.stage, len(got)) == (stage, pieces)
            assert trio.current_time() - start == pytest.approx(after, abs=0.1)
            assert connection._readiness.flowing == 0
            await connection.aclose()


async def test_closing_or_cancelling_while_a_stream_flows() -> None:
    async with ScriptedHttp(silent_after_one) as server:
        connection, got = await connect(server), list[bytes]()
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                await connection.exchange(GET, Countdown(Deadlines(between_bytes=60)))
                got.append(connection.take())
                with pytest.raises(ConnectionLost):
                    await connection.pump(keep(got))

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked(0.02)
            await connection.aclose()
        with pytest.raises(ConnectionLost):
            await connection.pump(keep(got))
        connection = await connect(server)
        await connection.exchange(GET, Countdown(Deadlines(between_bytes=60)))
        with trio.move_on_after(0.05) as scope:
            await connection.pump(keep(got))
        assert (scope.cancelled_caught, connection._readiness.flowing) == (True, 0)
        await connection.aclose()
        assert set(got) <= {b"", b"one"}
