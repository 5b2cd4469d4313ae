import errno
import socket
from pathlib import Path

import pytest
import trio

from appliance.domain.targets import Address
from appliance.upstream.dial import dial


async def echoes(sock: socket.socket, listener: trio.SocketListener) -> bool:
    """Whether what is sent arrives at the other side."""
    with sock, trio.fail_after(5):
        assert sock.gettimeout() == 0
        async with await listener.accept() as other:
            sock.send(b"hello")
            return bytes(await other.receive_some()) == b"hello"


@pytest.mark.parametrize(("bound", "host"), [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "localhost"), ("::1", "::1")])
async def test_addresses_and_names_are_reached(bound: str, host: str) -> None:
    try:
        (listener,) = await trio.open_tcp_listeners(0, host=bound)
    except OSError:
        pytest.skip(f"no {bound} here")
    async with listener:
        sock = await dial(Address("http", host, listener.socket.getsockname()[1]))
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert await echoes(sock, listener)


async def test_a_unix_socket_is_reached(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    sock = trio.socket.socket(socket.AF_UNIX)
    await sock.bind(path)
    sock.listen()
    async with trio.SocketListener(sock) as listener:
        assert await echoes(await dial(Address("unix", path)), listener)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_where_nobody_listens_there_is_an_error(host: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(OSError) as caught, trio.fail_after(5):
            await dial(Address("http", host, unused.getsockname()[1]))
    if host != "localhost":
        assert caught.value.errno == errno.ECONNREFUSED


async def test_a_cancelled_attempt_leaves_no_socket() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await dial(Address("http", "192.0.2.1", 80))  # a documentation address, never reached
    assert scope.cancelled_caught
