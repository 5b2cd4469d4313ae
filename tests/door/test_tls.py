import os
import random
import socket
import ssl
from pathlib import Path

import pytest
import trio
import trio.testing

from appliance.door.tls import handshake
from appliance.door.transport import Transport
from tests.fakes.tls_ends import Box, ByHand, Client

PLAIN = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


async def drain(client: Client) -> None:
    while await client.receive_some():
        pass


def common_name(client: Client) -> str:
    names = client.getpeercert()["subjectAltName"]
    return str(names[0][1])


async def test_bytes_go_both_ways_and_the_client_sees_a_proper_end(box: Box) -> None:
    async with box.connected() as (transport, client):
        either: Transport = transport  # has the shape that a connection needs
        assert (either.secure, either.alpn) == (True, "")
        await client.send_all(b"hello")
        assert await transport.receive() == b"hello"
        await transport.send(memoryview(b"world"))
        await transport.send(b"")
        assert await client.receive_some() == b"world"
        await transport.end()
        assert await client.receive_some() == b""  # trio.SSLStream insists on close_notify
        await transport.end()
        with pytest.raises(ConnectionError):
            await transport.send(b"late")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(("name", "shown"), [("a.lan", "a.lan"), ("B.lan", "b.lan"), ("c.lan", "a.lan")])
async def test_the_certificate_is_the_one_asked_for(box: Box, name: str, shown: str, version: ssl.TLSVersion) -> None:
    context = box.authority.client()
    context.check_hostname = False
    context.maximum_version = version
    async with box.connected(name, context) as (_, client):
        assert common_name(client) == shown


async def test_the_protocol_agreed_on(box: Box) -> None:
    async with box.connected(context=box.authority.client("h2", "http/1.1")) as (transport, _):
        assert transport.alpn == "http/1.1"
    box.certificates = box.load(box.authority.write("a", "a.lan"), http2=True)
    async with box.connected(context=box.authority.client("h2", "http/1.1")) as (transport, _):
        assert transport.alpn == "h2"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
async def test_old_protocol_versions_are_refused(box: Box) -> None:
    context = box.authority.client()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    async with box.ends() as (sock, stream), trio.open_nursery() as nursery:
        client: Client = trio.SSLStream(stream, context, server_hostname="a.lan")

        async def try_it() -> None:
            with pytest.raises(trio.BrokenResourceError) as caught:
                await client.do_handshake()
            assert "alert protocol version" in str(caught.value.__cause__)

        nursery.start_soon(try_it)
        assert await box.refusal(sock) == "no common protocol version"


async def test_a_client_that_does_not_trust_us_is_a_reason_that_can_be_read(box: Box) -> None:
    async with box.ends() as (sock, stream), trio.open_nursery() as nursery:
        client = ByHand(stream, box.authority.client(trusting=False))

        async def try_it() -> None:
            with pytest.raises(ssl.SSLCertVerificationError):
                await client.do_handshake()
            await client.flush()

        nursery.start_soon(try_it)
        assert await box.refusal(sock) == "the client does not trust the certificate"


@pytest.mark.parametrize("packet", [PLAIN, b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"G"])
async def test_plain_http_gets_an_answer_that_can_be_read(box: Box, packet: bytes) -> None:
    async with box.ends() as (sock, stream), trio.open_nursery() as nursery:

        async def ask() -> None:
            await stream.send_all(packet)
            answer = b""
            while piece := await stream.receive_some():
                answer += piece
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400 ")
            assert f"content-length: {len(body)}".encode() in head
            assert b"https://" in body
            await stream.send_eof()

        nursery.start_soon(ask)
        assert await box.refusal(sock) == "plain HTTP on the TLS port"


async def test_garbage_of_every_first_byte_is_refused(box: Box, capfd: pytest.CaptureFixture[str]) -> None:
    for first in range(256):
        async with box.ends() as (sock, stream):
            await stream.send_all(bytes([first]) + b"\x03\x01\x00\x05hello, is this thing on?")
            await stream.send_eof()
            reason = await box.refusal(sock)
            http = ord("A") <= first <= ord("Z")
            if first != 0x16:
                assert reason == ("plain HTTP on the TLS port" if http else "not TLS")
            assert "hello" not in reason
    assert capfd.readouterr().err == ""


async def test_a_name_outside_ascii_leaves_no_traceback(box: Box, capfd: pytest.CaptureFixture[str]) -> None:
    async with box.ends() as (sock, stream):
        hello = ByHand(stream, box.authority.client(), "nowhere.lan").hello()
        await stream.send_all(hello.replace(b"nowhere.lan", b"n\xf6where.lan"))
        await stream.send_eof()
        assert await box.refusal(sock) == "the client left"
    assert capfd.readouterr().err == ""


async def test_open_connections_go_on_while_new_ones_get_the_new_certificate(box: Box) -> None:
    async with box.connected() as (transport, client):
        box.authority.write("a", "a.lan", "renewed.a.lan")
        assert box.certificates.reload() is True
        async with box.connected("renewed.a.lan") as (_, other):
            assert common_name(other) == "a.lan"
        await client.send_all(b"still here")
        assert await transport.receive() == b"still here"
        await transport.send(b"yes")
        assert await client.receive_some() == b"yes"


async def test_a_client_may_speak_byte_by_byte(box: Box) -> None:
    async with box.ends() as (sock, stream), trio.open_nursery() as nursery:
        client = ByHand(stream, box.authority.client(), "b.lan", bytewise=True)
        nursery.start_soon(client.do_handshake)
        with trio.fail_after(20):
            transport = await handshake(sock, box.certificates)
            client.session.write(b"hello")
            nursery.start_soon(client.flush)
            got = b""
            while len(got) < 5:
                assert not transport.pending()
                got += await transport.receive()
            assert got == b"hello"


async def test_bytes_that_come_with_the_handshake_wait_inside(box: Box) -> None:
    async with box.ends() as (sock, stream), trio.open_nursery() as nursery:
        client = ByHand(stream, box.authority.client())

        async def talk() -> None:
            await client.do_handshake(last_words=False)
            client.session.write(b"GET")
            client.session.write(b" /")
            with pytest.raises(ssl.SSLWantReadError):
                client.session.unwrap()
            await client.flush()

        nursery.start_soon(talk)
        transport = await handshake(sock, box.certificates)
        assert transport.pending()
        assert await transport.receive(2) == b"GE"
        assert await transport.receive() == b"T /"
        assert transport.pending()
        assert await transport.receive() == b""  # the close_notify
        await transport.send(b"answered all the same")
        assert await client.receive() == b"answered all the same"


@pytest.mark.parametrize("size", [0, 1, 5, 100, 500])
async def test_a_client_that_leaves_inside_the_handshake(box: Box, size: int) -> None:
    for reset in (False, True):
        async with box.ends() as (sock, stream):
            await stream.send_all(ByHand(stream, box.authority.client()).hello()[:size])
            if reset:
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            await stream.aclose()
            assert await box.refusal(sock) == "the client left"


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_handshake_can_be_cancelled_wherever_it_waits(box: Box) -> None:
    before = open_files()
    async with box.ends() as (_, stream):
        hello = ByHand(stream, box.authority.client()).hello()
    for said in (b"", hello[:3], hello[:100], hello, PLAIN):
        async with box.ends() as (sock, stream):
            await stream.send_all(said)
            with trio.move_on_after(0.05) as scope:
                await handshake(sock, box.certificates)
            assert scope.cancelled_caught
    assert open_files() == before


async def test_an_impolite_end_is_an_end_and_a_reset_is_an_error(box: Box) -> None:
    async with box.connected() as (transport, client):
        await client.transport_stream.aclose()
        assert await transport.receive() == b""
    async with box.connected() as (transport, client):
        client.transport_stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await client.transport_stream.aclose()
        with pytest.raises(ConnectionError):
            await transport.receive()
        with pytest.raises(ConnectionError):
            await transport.send(b"x" * 1000)
        await transport.end()


async def test_a_client_that_vanishes_in_the_middle_of_an_answer(box: Box) -> None:
    async with box.connected(buffers=4096) as (transport, client), trio.open_nursery() as nursery:

        async def vanish() -> None:
            await client.receive_some(1000)
            await client.transport_stream.aclose()

        nursery.start_soon(vanish)
        with trio.fail_after(10), pytest.raises(ConnectionError):
            await transport.send(bytes(10_000_000))
        await transport.end()


async def test_bytes_that_are_not_tls_are_an_error_after_the_good_ones(box: Box) -> None:
    async with box.connected() as (transport, client):
        await client.send_all(b"good")
        await client.transport_stream.send_all(b"GET / HTTP/1.1\r\n\r\n" * 3)
        assert await transport.receive() == b"good"
        with pytest.raises(ConnectionError, match="not TLS"):
            await transport.receive()
        await transport.end()


@pytest.mark.parametrize(("size", "buffers"), [(3_000_000, 0), (100_000, 4096)])
async def test_large_bodies_go_both_ways_at_once(box: Box, size: int, buffers: int) -> None:
    up, down = os.urandom(size), os.urandom(size * 2 // 3)
    async with box.connected(buffers=buffers) as (transport, client):
        with trio.fail_after(40):
            async with trio.open_nursery() as nursery:

                async def serve() -> None:
                    got = bytearray()
                    while len(got) < len(up):
                        got += await transport.receive()
                    assert got == up

                async def ask() -> None:
                    got = bytearray()
                    while len(got) < len(down):
                        got += await client.receive_some(65536)
                    assert got == down

                nursery.start_soon(serve)
                nursery.start_soon(ask)
                nursery.start_soon(client.send_all, up)
                nursery.start_soon(transport.send, down)


async def test_a_cancelled_send_cannot_be_followed_by_another(box: Box) -> None:
    context = box.authority.client()
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # Python's own takes an end between two records for a goodbye
    async with box.connected(context=context, buffers=4096) as (transport, client):
        with trio.move_on_after(0.1) as scope:
            await transport.send(bytes(10_000_000))
        assert scope.cancelled_caught
        with pytest.raises(BrokenPipeError):
            await transport.send(b"x")
        await transport.end()
        with pytest.raises(trio.BrokenResourceError), trio.fail_after(10):
            await drain(client)  # it was cut short, and the client can tell


async def test_offers_and_flushes_and_sends_arrive_in_order(box: Box) -> None:
    dice, full = random.Random(1), 0
    pieces = [bytes([number % 251]) * dice.choice((1, 100, 3000, 9000)) for number in range(60)]
    got = bytearray()
    async with box.connected(buffers=4096) as (transport, client):
        with trio.fail_after(40):
            async with trio.open_nursery() as nursery:

                async def read() -> None:
                    while piece := await client.receive_some(65536):
                        got.extend(piece)

                nursery.start_soon(read)
                for piece in pieces:
                    if dice.random() < 0.2:
                        await transport.send(piece)
                    elif not transport.offer(piece):
                        full += 1
                        with pytest.raises(BrokenPipeError):  # it may not overtake what is left
                            transport.offer(b"too early")
                        await transport.flush()
                await transport.flush()
                await transport.end()
    assert bytes(got) == b"".join(pieces)
    assert full


async def test_an_offer_that_the_client_does_not_take_can_be_left_alone(box: Box) -> None:
    async with box.connected(buffers=4096) as (transport, client):
        assert transport.offer(b"small")
        assert not transport.offer(bytes(10_000_000))
        with trio.move_on_after(0.05) as scope:
            await transport.flush()
        assert scope.cancelled_caught
        await client.transport_stream.aclose()
        with trio.fail_after(10), pytest.raises(ConnectionError):
            await transport.flush()
        with pytest.raises(ConnectionError):
            transport.offer(b"x")


async def test_the_end_does_not_wait_for_a_client_that_reads_nothing(box: Box) -> None:
    async with box.connected(buffers=4096) as (transport, _):
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.1):
            await transport.send(bytes(10_000_000))
        transport._left = memoryview(b"")  # as if the last send had fitted exactly
        with trio.fail_after(10):
            await transport.end()


async def test_after_the_end_reading_waits_for_the_client_to_close(box: Box) -> None:
    async with box.connected() as (transport, client):
        await client.send_all(b"one")
        assert await transport.receive() == b"one"
        await transport.end()
        assert await client.receive_some() == b""
        await client.transport_stream.send_all(b"an unread body")
        assert await transport.receive()
        await client.transport_stream.aclose()
        with trio.fail_after(10):
            while await transport.receive():
                pass


async def test_closing_wakes_a_reader(box: Box) -> None:
    async with box.connected() as (transport, _), trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await transport.receive()

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        transport.close()
        transport.close()
