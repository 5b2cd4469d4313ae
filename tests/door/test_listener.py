import pytest
import trio
import trio.testing

from appliance.door.listener import Listener
from appliance.errors import OperatorError


async def echo(stream: trio.SocketStream) -> None:
    async for data in stream:
        if data == b"bomb":
            raise ValueError("boom")
        await stream.send_all(data)


async def test_one_connections_failure_leaves_the_others_alone() -> None:
    listener = await Listener.bind("127.0.0.1", 0, echo)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.run)
        good = await trio.open_tcp_stream("127.0.0.1", listener.port)
        bad = await trio.open_tcp_stream("127.0.0.1", listener.port)
        await bad.send_all(b"bomb")
        assert await bad.receive_some() == b""
        await good.send_all(b"hello")
        assert await good.receive_some() == b"hello"
        await good.aclose()
        await bad.aclose()
        nursery.cancel_scope.cancel()


async def test_after_stop_accepting_open_connections_go_on_and_new_ones_are_refused() -> None:
    listener = await Listener.bind("127.0.0.1", 0, echo)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.run)
        stream = await trio.open_tcp_stream("127.0.0.1", listener.port)
        await stream.send_all(b"one")
        assert await stream.receive_some() == b"one"
        listener.stop_accepting()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(OSError, match="all attempts"):
            await trio.open_tcp_stream("127.0.0.1", listener.port)
        await stream.send_all(b"two")
        assert await stream.receive_some() == b"two"
        await stream.aclose()


async def test_a_taken_port_is_a_mistake_told_in_one_line() -> None:
    listener = await Listener.bind("127.0.0.1", 0, echo)
    with pytest.raises(OperatorError, match="another program listens there"):
        await Listener.bind("127.0.0.1", listener.port, echo)
    await listener.aclose()
