import contextlib
import errno
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from appliance.door.listener import Caps, Listener, descriptors
from appliance.errors import OperatorError


class Echo:
    """A desk that sends back what it gets."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.turned_away: list[str] = []
        self.asked_for_room = 0

    async def serve(self, sock: socket.socket, peer: str) -> None:
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        async for data in stream:
            if data == b"bomb":
                raise ValueError("boom")
            await stream.send_all(data)

    def turn_away(self, sock: socket.socket, reason: str) -> None:
        self.turned_away.append(reason)
        sock.close()

    def make_room(self) -> None:
        self.asked_for_room += 1

    def failed(self, error: BaseException) -> None:
        self.errors.append(type(error).__name__)


@asynccontextmanager
async def listening(caps: Caps | None = None) -> AsyncIterator[tuple[Listener, Echo]]:
    echo = Echo()
    listener = await Listener.bind("127.0.0.1", 0, echo, caps or Caps(100))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.run)
        yield listener, echo
        nursery.cancel_scope.cancel()
    listener.close()


async def echoed(stream: trio.SocketStream, data: bytes) -> bool:
    with trio.fail_after(5):
        await stream.send_all(data)
        return bytes(await stream.receive_some()) == data


async def test_one_connections_failure_leaves_the_others_alone() -> None:
    async with listening() as (listener, echo):
        good = await trio.open_tcp_stream("127.0.0.1", listener.port)
        bad = await trio.open_tcp_stream("127.0.0.1", listener.port)
        await bad.send_all(b"bomb")
        assert await bad.receive_some() == b""
        assert await echoed(good, b"hello")
        assert echo.errors == ["ValueError"]
        assert listener.connections == 1
        await good.aclose()
        await bad.aclose()


async def test_after_stop_accepting_open_connections_go_on_and_new_ones_are_refused() -> None:
    async with listening() as (listener, _), await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
        assert await echoed(stream, b"one")
        listener.stop_accepting()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(OSError, match="all attempts"):
            await trio.open_tcp_stream("127.0.0.1", listener.port)
        assert await echoed(stream, b"two")


async def test_connections_over_the_total_are_turned_away_and_room_is_made() -> None:
    async with listening(Caps(2)) as (listener, echo):
        streams = [await trio.open_tcp_stream("127.0.0.1", listener.port) for _ in range(3)]
        assert await streams[2].receive_some() == b""
        assert echo.turned_away == ["limit"]
        assert echo.asked_for_room == 1
        assert await echoed(streams[0], b"still here")
        await streams[0].aclose()
        await trio.testing.wait_all_tasks_blocked(0.05)
        async with await trio.open_tcp_stream("127.0.0.1", listener.port) as another:
            assert await echoed(another, b"room again")
        for stream in streams:
            await stream.aclose()


async def test_connections_of_one_address_are_counted_where_that_is_asked_for() -> None:
    async with listening(Caps(100, per_address=1)) as (listener, echo):
        first = await trio.open_tcp_stream("127.0.0.1", listener.port)
        assert await echoed(first, b"one")
        async with await trio.open_tcp_stream("127.0.0.1", listener.port) as second:
            assert await second.receive_some() == b""
        elsewhere = await trio.open_tcp_stream("127.0.0.1", listener.port, local_address="127.0.0.2")
        assert await echoed(elsewhere, b"two")
        assert echo.turned_away == ["address_limit"]
        await first.aclose()
        await elsewhere.aclose()


async def test_without_file_descriptors_it_waits_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with listening() as (listener, echo):
        client = socket.socket()
        hoard: list[socket.socket] = []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
            with contextlib.suppress(OSError):
                while True:
                    hoard.append(socket.socket())
            client.setblocking(False)
            assert client.connect_ex(("127.0.0.1", listener.port)) in (0, errno.EINPROGRESS)
            with trio.fail_after(10):
                while not echo.asked_for_room:
                    await trio.sleep(0.02)
            assert len([1 for record in caplog.records if "cannot accept" in record.message]) == 1
        finally:
            for sock in hoard:
                sock.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(client))
        assert await echoed(stream, b"at last")
        await stream.aclose()


async def test_a_taken_port_is_a_mistake_told_in_one_line() -> None:
    async with listening() as (listener, echo):
        with pytest.raises(OperatorError, match="another program listens there"):
            await Listener.bind("127.0.0.1", listener.port, echo, Caps(1))


async def test_a_name_may_mean_several_addresses() -> None:
    listener = await Listener.bind("localhost", 0, Echo(), Caps(1))
    assert listener.port
    listener.close()


def test_the_kernels_table_of_open_files_has_grown_before_anybody_connects() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        descriptors()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    size = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("FDSize"))
    assert int(size.split()[1]) >= min(before[1], 16_384)


def test_the_limit_of_open_files_is_raised_and_some_are_kept_back() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        assert descriptors() == before[1] - 64
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_who_comes_while_it_pauses_waits_and_is_served_afterwards() -> None:
    async with listening() as (listener, _):
        listener.pause()
        stream = await trio.open_tcp_stream("127.0.0.1", listener.port)
        async with stream:
            await stream.send_all(b"x")
            with trio.move_on_after(0.2) as waited:
                await stream.receive_some(1)
            assert waited.cancelled_caught
            listener.resume()
            with trio.fail_after(5):
                assert await stream.receive_some(1) == b"x"
        listener.resume()


async def test_a_connection_that_another_process_has_accepted_is_served() -> None:
    async with listening() as (listener, _):
        await trio.testing.wait_all_tasks_blocked()  # it runs
        ours, theirs = socket.socketpair()
        listener.take_in(theirs, "10.0.0.1")
        assert listener.connections == 1
        ours.settimeout(0)
        async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as stream:
            await stream.send_all(b"x")
            with trio.fail_after(5):
                assert await stream.receive_some(1) == b"x"
        with trio.fail_after(5):
            while listener.connections:
                await trio.sleep(0.01)


async def test_without_a_place_for_it_it_is_closed() -> None:
    listener = await Listener.bind("127.0.0.1", 0, Echo(), Caps(1))
    ours, theirs = socket.socketpair()
    listener.take_in(theirs, "")
    assert ours.recv(1) == b""
    assert [file >= 0 for file in listener.files] == [True]
    listener.close()
    ours.close()
