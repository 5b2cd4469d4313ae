import json

import pytest
import trio

from appliance.api.reply import error_reply, json_reply
from appliance.api.socket_app import SocketApp
from appliance.domain.feeds import Piece
from appliance.domain.http import Reply, Request
from appliance.errors import GatewayError
from appliance.ops.following import following
from appliance.ops.sockets import FeedSockets
from tests.fakes.asgi import Socket


class Told:
    """A feed of what it was given; then silence, or its end."""

    def __init__(self, *pieces: Piece, end: GatewayError | None = None) -> None:
        self._pieces = iter(pieces)
        self._end = end

    async def receive(self, patience: float) -> Piece | None:
        await trio.lowlevel.checkpoint()
        for piece in self._pieces:
            return piece
        if self._end is not None:
            raise self._end
        await trio.sleep(patience)
        return None


class Application:
    """Answers handshakes as requests; remembers them."""

    def __init__(self, reply: Reply) -> None:
        self.asked: list[Request] = []
        self._reply = reply

    def serves(self, path: str) -> bool:
        return bool(path)

    async def __call__(self, request: Request) -> Reply:
        await trio.lowlevel.checkpoint()
        self.asked.append(request)
        return self._reply

    def refusal(self, error: GatewayError) -> Reply:
        return error_reply(error, "req_1")


async def talk(application: Application, socket: Socket) -> None:
    with trio.fail_after(20):
        await SocketApp([FeedSockets(application)])(socket.scope, socket.receive, socket.send)


async def test_pieces_are_messages_until_the_reader_leaves() -> None:
    application = Application(following(Told(Piece(b'{"a":1}', "7"), Piece(b'{"b":2}')), "x"))
    socket = Socket("/ops/v1/events?follow=1", [("Authorization", "Bearer k"), ("Accept", "*/*")])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk, application, socket)
        await socket.until(3)
        socket.leave.set()
    assert [json.loads(text) for text in socket.texts] == [{"a": 1}, {"b": 2}]
    assert socket.sent[0] == {"type": "websocket.accept", "subprotocol": None, "headers": []}
    (request,) = application.asked
    assert (request.path, request.query) == ("/ops/v1/events", "follow=1")
    assert request.header("accept") == "text/event-stream"
    assert request.header("authorization") == "Bearer k"


async def test_a_browser_offers_its_key_as_a_protocol() -> None:
    application = Application(following(Told(end=GatewayError("draining", "The server is going away.")), "x"))
    socket = Socket("/ops/v1/live", protocols=["appliance", "appliance-key.sk-1"])
    await talk(application, socket)
    assert application.asked[0].header("authorization") == "Bearer sk-1"
    assert socket.sent[0]["subprotocol"] == "appliance", "the key is not said back"
    assert socket.sent[1:] == [{"type": "websocket.close", "code": 1001, "reason": "The server is going away."}]


async def test_why_a_feed_ends_is_the_reason_of_the_close_as_far_as_it_fits() -> None:
    application = Application(following(Told(end=GatewayError("model_not_found", "ü" * 100)), "x"))
    socket = Socket("/ops/v1/logs/m")
    await talk(application, socket)
    assert socket.sent[-1]["code"] == 1000
    assert socket.sent[-1]["reason"] == "ü" * 61


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (error_reply(GatewayError("scope_missing", "No."), "req_1"), 403),
        (json_reply({"there": "is"}), 400),
    ],
)
async def test_what_is_no_feed_is_refused(reply: Reply, status: int) -> None:
    socket = Socket("/ops/v1/state")
    await talk(Application(reply), socket)
    assert socket.sent[0]["status"] == status
    assert json.loads(socket.sent[1]["body"])["error"]


def test_only_the_paths_of_operators_are_served() -> None:
    sockets = FeedSockets(Application(json_reply({})))
    assert sockets.serves("/ops/v1/live")
    assert not sockets.serves("/v1/realtime")
