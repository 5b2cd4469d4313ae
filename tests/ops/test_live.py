import json

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from appliance.access.keys import KeyRing
from appliance.domain.http import Request
from appliance.errors import GatewayError
from appliance.ops.following import FeedStream
from appliance.ops.gate import Gate
from appliance.ops.live import Live, LiveFeed, LiveRoutes
from tests.fakes.journal import journal
from tests.fakes.lookout import lookout
from tests.fakes.path import Bytes, Path


async def test_everybody_sees_the_same_snapshot_each_second(autojump_clock: MockClock) -> None:
    live = Live(lookout(Path()))
    seen: list[list[bytes]] = [[], []]

    async def look(at: int) -> None:
        feed = LiveFeed(live)
        for _ in range(3):
            piece = await feed.receive(60)
            assert piece is not None
            seen[at].append(piece.data)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(live.run)
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as readers:
            readers.start_soon(look, 0)
            readers.start_soon(look, 1)
        nursery.cancel_scope.cancel()
    assert all(one is other for one, other in zip(*seen, strict=True)), "rendered once"
    assert json.loads(seen[0][0])["models"]
    assert 2 <= trio.current_time() < 4


async def test_a_slow_reader_gets_the_newest_one_and_nobody_waits_for_it(autojump_clock: MockClock) -> None:
    live = Live(lookout(Path()))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live.run)
        feed = LiveFeed(live)
        assert await feed.receive(60) is not None
        await trio.sleep(30.5)
        before = trio.current_time()
        assert await feed.receive(60) is not None
        assert trio.current_time() == before
        nursery.cancel_scope.cancel()
    assert await feed.receive(0.1) is None, "nobody turns the pages any more"


async def test_nothing_is_rendered_while_nobody_looks(autojump_clock: MockClock) -> None:
    live = Live(lookout(Path()))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live.run)
        await trio.sleep(10)
        assert live._piece is None
        nursery.cancel_scope.cancel()


async def test_it_ends_with_the_server(autojump_clock: MockClock) -> None:
    live = Live(lookout(Path()))
    live.end()
    with pytest.raises(GatewayError, match="going away"):
        await LiveFeed(live).receive(60)


async def test_the_routes_are_for_administrators() -> None:
    ring = KeyRing((), date=lambda: 0.0)
    for gate, allowed in ((Gate(None, journal()), True), (Gate(ring, journal()), False)):
        snapshot = lookout(Path())
        routes = {route.template: route for route in LiveRoutes(gate, snapshot, Live(snapshot)).routes()}
        for template in ("/ops/v1/state", "/ops/v1/live"):
            request = Request("GET", template, "", [], "peer", Bytes(b""))
            if allowed:
                reply = await routes[template].endpoint(request, "")
                assert isinstance(reply.body, FeedStream if template.endswith("live") else bytes)
            else:
                with pytest.raises(GatewayError, match="No key"):
                    await routes[template].endpoint(request, "")
