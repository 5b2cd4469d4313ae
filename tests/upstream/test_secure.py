import random
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import trio
import trustme

from appliance.domain.secret import Secret
from appliance.domain.targets import Address, Endpoint
from appliance.errors import ConnectFailed, ConnectionLost, ProtocolViolation, UpstreamTimeout
from appliance.upstream.connection import OutRequest
from appliance.upstream.deadlines import Countdown, Deadlines
from appliance.upstream.pool import Pool
from appliance.upstream.secure import SecureConnection, open_client, system_trust
from appliance.upstream.upstreams import Upstreams
from tests.fakes.scripted_http import EVENTS, OK, Link, ScriptedHttp, always, chunk, once, reply

GET = OutRequest("GET", "/v1/models")
OFF = Deadlines()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def trust(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_https_works_and_its_connection_is_reused(server_tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    async with ScriptedHttp(always(OK), tls=server_tls) as server:
        upstreams = Upstreams(ssl_context=trust)
        for _ in range(3):
            answer = await upstreams.send(server.endpoint, OutRequest("POST", "/v1/x?y=%20", body=b"b"), OFF)
            assert (answer.status, await answer.read(10)) == (200, b"ok")
        assert server.accepted == 1
        assert server.requests[0].startswith(b"POST /v1/x?y=%20 HTTP/1.1\r\n")
        await upstreams.aclose()


async def test_a_certificate_of_an_unknown_authority_is_connect_failed(server_tls: ssl.SSLContext) -> None:
    async with ScriptedHttp(always(OK), tls=server_tls) as server:
        with pytest.raises(ConnectFailed):
            await Upstreams(ssl_context=system_trust()).send(server.endpoint, GET, OFF)


async def test_a_redirect_is_passed_on_and_not_followed(server_tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    async with ScriptedHttp(always(reply(302, b"", "location: /else")), tls=server_tls) as server:
        upstreams = Upstreams(ssl_context=trust)
        answer = await upstreams.send(server.endpoint, GET, OFF)
        assert (answer.status, await answer.read(10), len(server.requests)) == (302, b"", 1)
        await upstreams.aclose()


@pytest.mark.parametrize(
    ("wire", "error"),
    [(b"", ConnectionLost), (b"garbage\r\n\r\n", ProtocolViolation), (EVENTS + chunk(b"x"), ConnectionLost)],
)
async def test_broken_replies_are_our_errors(
    server_tls: ssl.SSLContext, trust: ssl.SSLContext, wire: bytes, error: type[Exception]
) -> None:
    async with ScriptedHttp(once(wire), tls=server_tls) as server:
        upstreams = Upstreams(ssl_context=trust)
        with pytest.raises(error):
            await (await upstreams.send(server.endpoint, GET, OFF)).read(10)
        assert "leased=0 idle=0" in repr(upstreams)


async def test_deadlines_hold_over_tls(server_tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    async def stall(link: Link) -> None:
        await link.request()
        await link.send(EVENTS, chunk(b"one"))
        await link.gone()

    async with ScriptedHttp(Link.gone, stall, tls=server_tls) as server:
        upstreams = Upstreams(ssl_context=trust)
        with pytest.raises(UpstreamTimeout) as caught:
            await upstreams.send(server.endpoint, GET, Deadlines(first_byte=0.2))
        assert caught.value.stage == "first_byte"
        answer = await upstreams.send(server.endpoint, GET, Deadlines(between_bytes=0.1))
        with pytest.raises(UpstreamTimeout) as caught:
            await answer.read(10)
        assert caught.value.stage == "between_bytes"
        with trio.fail_after(1):
            await server.closed()


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_ten_thousand_of_random_cancellations_over_tls_leave_no_stuck_slot(
    server_tls: ssl.SSLContext, trust: ssl.SSLContext
) -> None:
    async def stream(link: Link) -> None:
        while await link.request():
            await link.send(EVENTS)
            for _ in range(5):
                await link.send(chunk(b"data: x\n\n"))
                await trio.sleep(0.001)
            await link.send(b"0\r\n\r\n")

    dice = random.Random(5)
    async with ScriptedHttp(stream, tls=server_tls) as server:
        upstreams = Upstreams(ssl_context=trust)

        async def one(seconds: float) -> None:
            with trio.move_on_after(seconds):
                answer = await upstreams.send(server.endpoint, GET, OFF, max_connections=5)
                try:
                    await answer.read(10**6)
                finally:
                    await answer.aclose()

        for _ in range(500):
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(one, dice.random() * 0.06)
        assert "leased=0" in repr(upstreams)
        await one(5)
        await upstreams.aclose()
        with trio.fail_after(2):
            await server.closed()


class PausingTransport(httpx.AsyncBaseTransport):
    """Answers from memory, with checkpoints to be cancelled at."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        return httpx.Response(200, stream=PausingStream())

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class PausingStream(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(3):
            await trio.lowlevel.checkpoint()
            yield b"x"


async def test_ten_thousand_random_cancellations_leave_no_stuck_slot() -> None:
    address = Address("https", "box", 443)
    context = ssl.create_default_context()

    async def connect(countdown: Countdown) -> SecureConnection:
        return SecureConnection(address, open_client(context, PausingTransport()))

    pool = Pool("https://box", connect, cap=5, idle_close=5)
    dice = random.Random(9)

    async def use() -> None:
        lease, _ = await pool.begin(GET, Countdown(OFF))
        try:
            while lease.connection is not None and await lease.connection.receive():
                pass
        finally:
            await lease.finish()

    async def cancelled_somewhere(steps: int) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(use)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            assert pool.leased + pool.idle <= 5
            nursery.cancel_scope.cancel()

    for _ in range(1000):
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(cancelled_somewhere, dice.randrange(30))
    assert pool.leased == 0
    with trio.fail_after(5):
        for _ in range(6):
            await use()


async def tunnel(link: Link) -> None:
    """What a proxy does with CONNECT."""
    head = await link.head()
    link._server.requests.append(head)
    host, _, port = head.split(b" ")[1].decode().partition(":")
    if host == "forbidden":
        await link.send(reply(403))
        return
    await link.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
    async with await trio.open_tcp_stream(host, int(port)) as there, trio.open_nursery() as nursery:

        async def carry(source: trio.abc.ReceiveStream, sink: trio.abc.SendStream) -> None:
            try:
                while data := await source.receive_some(65536):
                    await sink.send_all(data)
            except trio.BrokenResourceError:
                pass
            nursery.cancel_scope.cancel()

        nursery.start_soon(carry, link.stream, there)
        await carry(there, link.stream)


async def test_a_proxy_leads_there_and_sees_only_where(server_tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    async with ScriptedHttp(always(OK), tls=server_tls) as server, ScriptedHttp(tunnel) as proxy:
        through = replace(server.address, proxy=f"http://127.0.0.1:{proxy.address.port}")
        endpoint = Endpoint(through, Secret("sk-canary"))
        upstreams = Upstreams(ssl_context=trust)
        for _ in range(2):
            answer = await upstreams.send(endpoint, OutRequest("POST", "/v1/x", body=b"prompt"), OFF)
            assert (answer.status, await answer.read(10)) == (200, b"ok")
        assert (server.accepted, proxy.accepted) == (1, 1)  # it is kept and used again
        assert b"Bearer sk-canary" in server.requests[0]
        (asked,) = proxy.requests
        assert asked.startswith(b"CONNECT localhost:%d HTTP/1.1" % server.address.port)
        assert b"canary" not in asked
        await upstreams.aclose()
        await proxy.closed()
        await server.closed()


async def test_a_proxy_that_refuses_or_is_not_there_is_connect_failed(trust: ssl.SSLContext) -> None:
    async with ScriptedHttp(tunnel) as proxy:
        for port in (proxy.address.port, 1):
            address = Address("https", "forbidden", 443, proxy=f"http://127.0.0.1:{port}")
            with pytest.raises(ConnectFailed):
                await Upstreams(ssl_context=trust).send(Endpoint(address), GET, OFF)
        await proxy.closed()


async def test_leaving_a_stream_that_came_through_a_proxy_closes_both_connections(
    server_tls: ssl.SSLContext, trust: ssl.SSLContext
) -> None:
    async def endless(link: Link) -> None:
        await link.request()
        await link.send(EVENTS, chunk(b"data: a\n\n"))
        await link.gone()

    async with ScriptedHttp(endless, tls=server_tls) as server, ScriptedHttp(tunnel) as proxy:
        endpoint = Endpoint(replace(server.address, proxy=f"http://127.0.0.1:{proxy.address.port}"))
        upstreams = Upstreams(ssl_context=trust)
        answer = await upstreams.send(endpoint, GET, OFF)
        assert await answer.receive() == b"data: a\n\n"
        with trio.move_on_after(0.05):
            await answer.receive()
        with trio.fail_after(5):
            await answer.aclose()
            await proxy.closed()
            await server.closed()
        assert next(iter(upstreams._pools.values())).empty


def test_authorities_are_found_where_another_distribution_keeps_them(
    tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "ca-bundle.crt"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "nowhere"))
    assert system_trust([str(tmp_path / "no")]).get_ca_certs() == []
    assert len(system_trust([str(tmp_path / "no"), str(bundle)]).get_ca_certs()) == 1
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    assert len(system_trust([]).get_ca_certs()) == 1
