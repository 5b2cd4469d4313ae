import contextlib
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


async def test_nothing_listening_is_connect_failed(tmp_path: Path) -> None:
    for address in (
        Address("unix", str(tmp_path / "none")),
        Address("http", "127.0.0.1", 1),
        Address("http", "a" * 70 + ".x", 1),
    ):
        with pytest.raises(ConnectFailed, match="cannot connect"):
            await open_plain(address, Countdown(Deadlines()))


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


async def test_a_reply_that_comes_before_the_body_is_written_is_seen_and_ends_the_writing() -> None:
    async def script(link: Link) -> None:
        await link.head()
        await link.send(reply(413, b"too big"))
        await trio.sleep_forever()

    async with ScriptedHttp(script) as server:
        connection = await connect(server)
        with trio.fail_after(5):
            head = await connection.exchange(POST, Countdown(Deadlines()))
        assert (head.status, await drain(connection), connection.reusable) == (413, b"too big", False)
        await connection.aclose()


async def test_a_whole_large_body_arrives_and_the_connection_stays_usable() -> None:
    async with ScriptedHttp(always(OK)) as server:
        connection = await connect(server)
        await connection.exchange(POST, Countdown(Deadlines()))
        assert await drain(connection) == b"ok"
        assert connection.reusable
        assert server.requests[0].endswith(POST.body)
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
