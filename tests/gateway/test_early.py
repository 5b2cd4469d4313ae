"""A stream that waits for a slot with a 200 already given."""

import json
from typing import Any

import pytest
import trio

from appliance.breakers.verdict import Verdict
from appliance.domain.http import Reply
from appliance.domain.status import ReplicaState, ReplicaStatus
from appliance.errors import ConnectFailed, GatewayError
from appliance.gateway.early import EarlyStream
from appliance.gateway.queues import QueueRules
from appliance.queueing.line import Ticket
from tests.fakes.path import Path
from tests.fakes.runtime import SOCKET
from tests.fakes.upstream_reply import ScriptedReply
from tests.fakes.upstreams import ScriptedUpstreams

JSON = [("content-type", "application/json")]
TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
COMMENT = b": keep-alive\n"
PING = b'event: ping\ndata: {"type":"ping"}\n\n'


class Scene:
    def __init__(self, *answers: ScriptedReply | Exception, early: bool = True, wait: float = 60) -> None:
        rules = QueueRules(wait=wait, early=early)
        self.path = Path(ScriptedUpstreams(*answers), rules=rules, clock=trio.current_time)
        self.path.fleet.set_replica(
            ReplicaStatus("m", "m", "llama.cpp", ReplicaState.READY, since=0.0, endpoint=SOCKET, slots=1)
        )
        self.line = self.path.queues._lines["m"]
        self.holder: Ticket | None = self.line.take("other", 1, 1)

    def free(self) -> None:
        assert self.holder is not None
        self.path.queues._call(self.line.release(self.holder, 1, trio.current_time()))

    async def ask(self, route: str = "/v1/chat/completions", **fields: Any) -> Reply:
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 5} | fields
        return await self.path.ask("POST", route, json.dumps(body).encode())

    async def early(self, route: str = "/v1/chat/completions", **fields: Any) -> EarlyStream:
        reply = await self.ask(route, **fields)
        assert (reply.status, type(reply.body)) == (200, EarlyStream)
        assert ("content-type", "text/event-stream") in reply.headers
        assert isinstance(reply.body, EarlyStream)
        return reply.body


async def test_it_gives_signs_of_life_and_then_the_answer(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene(ScriptedReply(TOKEN, DONE))
    stream = await scene.early()
    assert await stream.__anext__() == COMMENT
    assert scene.line.waiting == 0  # it stands in line from its first piece on
    pieces: list[bytes] = []

    async def read() -> None:
        pieces.extend([piece async for piece in stream])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.sleep(30)
        assert stream.keep_alive() == COMMENT
        assert scene.line.waiting == 1
        scene.free()
    assert b"".join(pieces) == TOKEN + DONE
    assert (stream.ended, stream.broken) == (True, False)
    await stream.aclose()
    record = scene.path.records[-1]
    assert (record.status, record.outcome, record.queued_s) == (200, "ok", 30)


@pytest.mark.parametrize(
    ("route", "sign", "name"),
    [("/v1/chat/completions", COMMENT, b""), ("/v1/messages", PING, b"event: error\n")],
)
async def test_what_goes_wrong_is_an_event_and_the_end(
    route: str, sign: bytes, name: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(wait=5)
    stream = await scene.early(route)
    assert await stream.__anext__() == sign
    event = await stream.__anext__()
    assert event.startswith(name + b"data: ")
    error = json.loads(event.partition(b"data: ")[2])["error"]
    assert error["code"] == "queue_timeout"
    with pytest.raises(StopAsyncIteration):
        await stream.__anext__()
    assert (stream.ended, stream.broken, stream.keep_alive()) == (True, True, b"")
    record = scene.path.records[-1]
    assert (record.status, record.outcome, record.error_code) == (200, "error", "queue_timeout")


async def test_an_engines_own_error_is_an_event_too(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene(ScriptedReply(b'{"error": {"message": "too long"}}', status=400, headers=JSON))
    stream = await scene.early()
    await stream.__anext__()
    scene.free()
    assert await stream.__anext__() == b'data: {"error":{"message":"too long"}}\n\n'
    assert stream.broken


async def test_an_engine_that_refuses_in_no_json_is_an_event(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene(ScriptedReply(b"<html>", status=400, headers=[("content-type", "text/html")]))
    stream = await scene.early()
    await stream.__anext__()
    scene.free()
    assert b"upstream_protocol" in await stream.__anext__()


async def test_whoever_leaves_gives_its_place_back(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene()
    stream = await scene.early()
    await stream.__anext__()
    with trio.move_on_after(3):
        await stream.__anext__()
    assert stream.close()
    assert (scene.line.running, scene.line.waiting, scene.path.queues._events) == (1, 0, {})
    assert scene.path.records[-1].outcome == "client_gone"
    await stream.aclose()


async def test_a_server_that_goes_away_says_so(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene()
    stream = await scene.early()
    await stream.__anext__()
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            assert b"draining" in await stream.__anext__()

        nursery.start_soon(read)
        await trio.sleep(1)
        scene.path.gateway.interrupt(GatewayError("draining", "The server goes away."))
    assert stream.broken
    assert scene.line.waiting == 0


async def test_a_stream_that_has_begun_is_interrupted_once(autojump_clock: trio.testing.MockClock) -> None:
    reply = ScriptedReply(TOKEN, DONE)
    scene = Scene(reply)
    stream = await scene.early()
    await stream.__anext__()
    scene.free()
    assert await stream.__anext__() == TOKEN
    scene.path.gateway.interrupt(GatewayError("draining", "The server goes away."))
    assert b"draining" in await stream.__anext__()
    assert stream.broken
    await stream.aclose()
    assert reply.closed


async def test_the_last_piece_is_known_as_the_last_when_it_is_given_out(autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene(ScriptedReply(TOKEN, TOKEN, DONE))
    stream = await scene.early()
    await stream.__anext__()
    await stream.pump(lambda _: True)  # there is nothing to pump yet
    scene.free()
    assert await stream.__anext__() == TOKEN
    offered: list[tuple[bytes, bool]] = []

    def offer(piece: bytes) -> bool:
        offered.append((piece, stream.ended))
        return True

    await stream.pump(offer)
    assert offered == [(TOKEN, False), (DONE, True)]
    await stream.aclose()


async def test_it_is_a_setting_and_only_for_streams_that_have_to_wait(autojump_clock: trio.testing.MockClock) -> None:
    late = Scene(early=False, wait=1)
    assert (await late.ask()).status == 503
    whole = Scene(wait=1)
    assert (await whole.ask(stream=False)).status == 503
    free = Scene(ConnectFailed("no"))
    free.free()
    assert (await free.ask()).status == 502


async def test_of_those_who_wait_with_a_200_one_is_the_probe_of_a_broken_model_server(
    autojump_clock: trio.testing.MockClock,
) -> None:
    scene = Scene(*(ScriptedReply(TOKEN, DONE) for _ in range(9)))
    target = scene.path.gateway.catalogue.targets_by_model()["m"][0]
    for _ in range(5):
        scene.path.panel.ended(target, Verdict.BAD, trio.current_time(), trio.current_time(), "status 500")
    await trio.sleep(5)
    streams = [await scene.early() for _ in range(9)]  # all may be: nobody has been sent there so far
    ends: list[bytes] = []

    async def read(stream: EarlyStream) -> None:
        ends.append(b"".join([piece async for piece in stream]))
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        for stream in streams:
            nursery.start_soon(read, stream)
        await trio.sleep(1)
        scene.free()
    assert len(scene.path.upstreams.asked) == 1
    assert [b"circuit_open" in end for end in sorted(ends, key=len)] == [False] + 8 * [True]
    assert scene.path.panel.empty
    assert (scene.line.running, scene.line.waiting) == (0, 0)
