import contextlib
import socket
from pathlib import Path

import pytest
import trio

from appliance.domain.targets import Address
from appliance.errors import ConnectFailed, ConnectionLost, ProtocolViolation, UpstreamTimeout
from appliance.upstream.connection import OutRequest, PlainConnection, open_plain
from appliance.upstream.deadlines import Countdown, Deadlines
from tests.fakes.scripted_http import EVENTS, OK, Link, ScriptedHttp, always, chunk, once, reply

GET = OutRequest("GET", "/")
POST = OutRequest("POST", "/", body=b"x" * 8_000_000)


async def connect(server: ScriptedHttp) -> PlainConnection:
    return await open_plain(server.address, Countdown(Deadlines()))


async def drain(connection: PlainConnection) -> bytes:
    body = b""
    while piece := await connection.receive():
        body += piece
    return body


async def test_one_connection_carries_one_exchange_after_another_over_tcp_and_unix(tmp_path: Path) -> None:
    for path in (None, tmp_path / "s"):
        async with ScriptedHttp(always(OK), path=path) as server:
            connection = await connect(server)
            for _ in range(3):
                head = await connection.exchange(GET, Countdown(Deadlines()))
                assert (head.status, await drain(connection), connection.reusable) == (200, b"ok", True)
            assert not connection.stale()
            assert server.accepted == 1
            await connection.aclose()


async def test_a_server_that_closed_while_idle_is_stale() -> None:
    async with ScriptedHttp(once(OK)) as server:
        connection = await connect(server)
        await connection.exchange(GET, Countdown(Deadlines()))
        await drain(connection)
        await server.closed()
        assert connection.stale()
        await connection.aclose()


@pytest.mark.parametrize("body", [b"", b"x" * 10_000_000])
async def test_what_a_dead_server_was_not_sent_at_all_has_failed_to_connect(body: bytes, tmp_path: Path) -> None:
    """It may be sent again: nobody can have seen it."""
    async with ScriptedHttp(once(OK), path=tmp_path / "s") as server:
        connection = await connect(server)
        await connection.exchange(GET, Countdown(Deadlines()))
        await drain(connection)
        await server.closed()
        with pytest.raises(ConnectFailed, match="closed"):
            await connection.exchange(OutRequest("POST", "/", body=body), Countdown(Deadlines()))
        await connection.aclose()


async def test_nothing_listening_is_connect_failed(tmp_path: Path) -> None:
    for address in (
        Address("unix", str(tmp_path / "none")),
        Address("http", "127.0.0.1", 1),
        Address("http", "a" * 70 + ".x", 1),
    ):
        with pytest.raises(ConnectFailed, match="cannot connect"):
            await open_plain(address, Countdown(Deadlines()))


async def test_a_unix_server_with_a_full_backlog_is_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(1)
        address = Address("unix", str(tmp_path / "s"))
        waiting = [await open_plain(address, Countdown(Deadlines())) for _ in range(2)]
        with pytest.raises(UpstreamTimeout) as caught:
            await open_plain(address, Countdown(Deadlines(connect=0.05)))
        assert caught.value.stage == "connect"
        async with trio.open_nursery() as nursery:

            async def late() -> None:
                waiting.append(await open_plain(address, Countdown(Deadlines(connect=30))))

            nursery.start_soon(late)
            await trio.sleep(0.02)
            accepted = [listener.accept()[0] for _ in range(2)]
        accepted.append(listener.accept()[0])
    for connection in waiting:
        await connection.aclose()
    for peer in accepted:
        assert peer.recv(1) == b""
        peer.close()


@pytest.mark.parametrize("wire", [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 2"])
async def test_an_end_before_the_head_says_whether_any_byte_came(wire: bytes) -> None:
    async with ScriptedHttp(once(wire)) as server:
        connection = await connect(server)
        with pytest.raises(ConnectionLost) as caught:
            await connection.exchange(GET, Countdown(Deadlines()))
        assert caught.value.before_reply is (wire == b"")
        await connection.aclose()


async def test_a_reset_before_the_head_is_connection_lost_before_reply() -> None:
    async def script(link: Link) -> None:
        await link.request()
        link.reset()

    async with ScriptedHttp(script) as server:
        connection = await connect(server)
        with pytest.raises(ConnectionLost) as caught:
            await connection.exchange(GET, Countdown(Deadlines()))
        assert caught.value.before_reply
        await connection.aclose()


async def test_a_reset_inside_the_body_is_connection_lost_after_reply() -> None:
    seen = trio.Event()

    async def script(link: Link) -> None:
        await link.request()
        await link.send(EVENTS, chunk(b"one"))
        await seen.wait()
        link.reset()

    async with ScriptedHttp(script) as server:
        connection = await connect(server)
        await connection.exchange(GET, Countdown(Deadlines()))
        assert await connection.receive() == b"one"
        seen.set()
        with pytest.raises(ConnectionLost) as caught:
            await connection.receive()
        assert not caught.value.before_reply
        await connection.aclose()


@pytest.mark.parametrize("wire", [EVENTS + chunk(b"one"), reply(200, b"one").replace(b": 3", b": 9")])
async def test_a_truncated_body_is_never_a_clean_end(wire: bytes) -> None:
    async with ScriptedHttp(once(wire)) as server:
        connection = await connect(server)
        await connection.exchange(GET, Countdown(Deadlines()))
        with pytest.raises(ConnectionLost):
            await drain(connection)
        assert not connection.reusable
        await connection.aclose()


@pytest.mark.parametrize("wire", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n bad: x\r\n\r\n"])
async def test_a_garbage_head_is_a_protocol_violation(wire: bytes) -> None:
    async with ScriptedHttp(once(wire)) as server:
        connection = await connect(server)
        with pytest.raises(ProtocolViolation):
            await connection.exchange(GET, Countdown(Deadlines()))
        await connection.aclose()


@pytest.mark.parametrize("unix", [False, True])
async def test_a_reply_that_comes_before_the_body_is_written_is_seen_and_ends_the_writing(
    unix: bool, tmp_path: Path
) -> None:
    async def script(link: Link) -> None:
        await link.head()
        await link.send(reply(413, b"too big"))
        await trio.sleep_forever()

    async with ScriptedHttp(script, path=tmp_path / "s" if unix else None) as server:
        connection = await connect(server)
        with trio.fail_after(5):
            head = await connection.exchange(POST, Countdown(Deadlines()))
        assert (head.status, await drain(connection), connection.reusable) == (413, b"too big", False)
        await connection.aclose()


@pytest.mark.parametrize("unix", [False, True])
async def test_whole_bodies_of_any_size_arrive_and_the_connection_stays_usable(unix: bool, tmp_path: Path) -> None:
    pattern = bytes(range(256)) * 32
    async with ScriptedHttp(always(OK), path=tmp_path / "s" if unix else None) as server:
        connection = await connect(server)
        for number, size in enumerate((1, 16_383, 16_384, 16_385, 300_000, 8_000_000)):
            body = (pattern * (size // len(pattern) + 1))[:size]
            await connection.exchange(OutRequest("POST", "/", body=body), Countdown(Deadlines(first_byte=60)))
            assert (await drain(connection), connection.reusable) == (b"ok", True)
            assert server.requests[number].partition(b"\r\n\r\n")[2] == body
        assert server.accepted == 1
        await connection.aclose()


async def test_a_head_that_is_rendered_already_is_sent_as_it_is() -> None:
    async with ScriptedHttp(always(OK)) as server:
        connection = await connect(server)
        head = b"POST /x HTTP/1.1\r\nhost: y\r\ncontent-length: 1\r\n\r\n"
        await connection.exchange(OutRequest("GET", "/", body=b"b", head=head), Countdown(Deadlines()))
        assert server.requests == [head + b"b"]
        await connection.aclose()


async def test_what_came_with_the_head_is_there_without_waiting() -> None:
    async with ScriptedHttp(once(OK)) as server:
        connection = await connect(server)
        await connection.exchange(GET, Countdown(Deadlines()))
        assert (connection.complete, connection.take(), connection.take()) == (True, b"ok", b"")
        await connection.aclose()


async def test_closing_wakes_whoever_waits_and_a_closed_one_is_lost() -> None:
    async def script(link: Link) -> None:
        await link.request()
        await link.send(EVENTS, chunk(b"one"))
        await link.gone()

    async with ScriptedHttp(script) as server:
        for deadlines in (Deadlines(), Deadlines(between_bytes=60, first_byte=60)):
            connection = await connect(server)
            async with trio.open_nursery() as nursery:

                async def ask(connection: PlainConnection, deadlines: Deadlines) -> None:
                    await connection.exchange(GET, Countdown(deadlines))
                    assert await connection.receive() == b"one"
                    with pytest.raises(ConnectionLost):
                        await connection.receive()

                nursery.start_soon(ask, connection, deadlines)
                await trio.testing.wait_all_tasks_blocked(0.02)
                await connection.aclose()
            await connection.aclose()
            with pytest.raises(ConnectFailed):  # nothing was sent
                await connection.exchange(GET, Countdown(deadlines))


@pytest.mark.parametrize(
    ("chatty", "deadlines", "stage"),
    [
        (False, Deadlines(between_bytes=0.05, total=60), "between_bytes"),
        (True, Deadlines(between_bytes=60, total=0.1), "total"),
    ],
)
async def test_silence_inside_the_body_and_a_total_that_passes_there_are_timeouts(
    chatty: bool, deadlines: Deadlines, stage: str
) -> None:
    async def script(link: Link) -> None:
        await link.request()
        await link.send(EVENTS)
        while True:
            await link.send(chunk(b"x") if chatty else b"")
            await trio.sleep(0.01)

    async with ScriptedHttp(script) as server:
        connection = await connect(server)
        await connection.exchange(GET, Countdown(deadlines))
        with pytest.raises(UpstreamTimeout) as caught:
            await drain(connection)
        assert caught.value.stage == stage
        await connection.aclose()


async def test_a_server_that_never_answers_is_a_first_byte_timeout() -> None:
    async with ScriptedHttp(Link.gone) as server:
        connection = await connect(server)
        with pytest.raises(UpstreamTimeout) as caught:
            await connection.exchange(POST, Countdown(Deadlines(first_byte=0.05)))
        assert caught.value.stage == "first_byte"
        await connection.aclose()


async def test_closing_before_the_end_is_seen_by_the_server() -> None:
    async def script(link: Link) -> None:
        await link.request()
        await link.send(EVENTS, chunk(b"one"))
        with contextlib.suppress(trio.BrokenResourceError):
            await link.gone()

    async with ScriptedHttp(script) as server:
        connection = await connect(server)
        await connection.exchange(GET, Countdown(Deadlines()))
        await connection.aclose()
        with trio.fail_after(1):
            await server.closed()


def test_the_repr_of_a_request_does_not_show_the_prompt() -> None:
    assert "prompt" not in repr(OutRequest("POST", "/", body=b"prompt"))


@pytest.mark.parametrize("pumped", [True, False])
async def test_pauses_between_two_reads_are_told_from_the_first_content_on(*, pumped: bool) -> None:
    async def slow(link: Link) -> None:
        await link.request()
        await link.send(EVENTS)
        for _ in range(4):
            await trio.sleep(0.05)
            await link.send(chunk(b"data: x\n\n"))
        await link.send(b"0\r\n\r\n")

    async with ScriptedHttp(slow) as server:
        connection = await connect(server)
        await connection.exchange(GET, Countdown(Deadlines()))
        before = connection.gaps
        assert await connection.receive()
        assert before.longest == 0, "that was no pause of an answer yet"
        before.begin()
        if pumped:
            await connection.pump(lambda _: True)
        else:
            await drain(connection)
        assert 0.03 < before.longest < 1
        assert before.stalls == 0
        await connection.aclose()


async def test_time_in_which_nobody_reads_is_no_pause() -> None:
    async with ScriptedHttp(always(reply(200, b"x" * 10))) as server:
        connection = await connect(server)
        await connection.exchange(GET, Countdown(Deadlines()))
        connection.gaps.begin()
        await trio.sleep(0.2)
        await connection.pump(lambda _: True)
        assert connection.gaps.longest < 0.1
        await connection.exchange(GET, Countdown(Deadlines()))
        assert connection.gaps.notable == float("inf"), "the next reply has its own"
        await connection.aclose()
