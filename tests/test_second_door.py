import subprocess
import sys
import time
from typing import Any

import pytest
import trio

from appliance.api.quart_app import build_app
from appliance.door.listener import Caps, Listener
from appliance.door.reply import Clock
from appliance.door.surroundings import Patience, Surroundings
from appliance.door.watch import Watch
from appliance.errors import GatewayError
from appliance.http1.incoming import HeadLimits
from appliance.second_door import SecondDoor, quart
from tests.fakes.doors import App, Straight, Told, hello

ASKED = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(("leaving", "answer"), [(False, b"HTTP/1.1 200"), (True, b"")], ids=["served", "closed"])
async def test_who_comes_before_it_is_open_waits(*, leaving: bool, answer: bytes) -> None:
    door = SecondDoor(quart(App(hello, ("/",)), max_body=100, body_timeout=5), write_stall=5)
    around = Surroundings(
        App(hello, ("/",)), door.connection, Watch(), Clock(time.monotonic), Told(), Patience(), HeadLimits()
    )
    listener = await Listener.bind("127.0.0.1", 0, Straight(around, Told(), door), Caps(10))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.run)
        async with await trio.open_tcp_stream("127.0.0.1", listener.port) as client:
            await client.send_all(ASKED)
            with trio.fail_after(20):
                while not listener.connections:
                    await trio.sleep(0.01)
            door.interrupt(GatewayError("draining", "going away"))  # nobody is there yet
            door.abort()
            if leaving:
                await door.close_idle()
            assert not door.open.is_set()
            nursery.start_soon(door.run)
            with trio.fail_after(20):
                got = b""
                while piece := await client.receive_some():
                    got += piece
        assert door.open.is_set()
        nursery.cancel_scope.cancel()
    assert got[:12] == answer


async def test_the_application_is_made_in_a_thread_while_the_server_goes_on() -> None:
    turns: list[str] = []

    def make() -> Any:
        trio.from_thread.run_sync(turns.append, "the loop had its turn")
        return build_app(App(hello, ("/",)), max_body=100, body_timeout=5)

    door = SecondDoor(make, write_stall=5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(door.run)
        with trio.fail_after(20):
            await door.open.wait()
        nursery.cancel_scope.cancel()
    assert turns == ["the loop had its turn"]


def test_a_server_that_starts_waits_for_nothing_that_only_this_door_needs() -> None:
    script = (
        "import sys, appliance.cli.serve; print({'quart', 'flask', 'werkzeug', 'hypercorn', 'h2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
