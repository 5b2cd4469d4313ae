"""A websocket from its handshake to its end, as ASGI events; who serves one is in tests/api/test_socket_app.py."""

from appliance.api.handshake import Handshake
from appliance.api.socket_app import NoBody, request_of
from appliance.domain.http import Ready, Reply
from tests.fakes.asgi import Socket


def handshake(socket: Socket) -> Handshake:
    return Handshake(request_of(socket.scope, NoBody()), socket.scope["subprotocols"], socket.receive, socket.send)


async def test_it_is_accepted_talked_over_and_closed() -> None:
    socket, told = Socket("/x", protocols=["a"]), []
    one = handshake(socket)
    one.on_accept = lambda: told.append("accepted")
    await one.accept("a", [("x-a", "b")])
    await one.send("words")
    await one.send(b"bytes")
    socket.leave.set()
    assert await one.receive() is None
    await one.close(1000, "enough")
    assert told == ["accepted"]
    assert one.accepted
    assert socket.sent == [
        {"type": "websocket.accept", "subprotocol": "a", "headers": [(b"x-a", b"b")]},
        {"type": "websocket.send", "text": "words"},
        {"type": "websocket.send", "bytes": b"bytes"},
        {"type": "websocket.close", "code": 1000, "reason": "enough"},
    ]


async def test_a_refusal_is_an_answer_with_its_length() -> None:
    socket = Socket("/x")
    await handshake(socket).refuse(Reply(403, [("content-type", "text/plain")], b"no", ready=Ready([("x-a", "1")])))
    start, body = socket.sent
    headers = dict(start["headers"])
    assert (start["status"], headers[b"content-length"], headers[b"x-a"]) == (403, b"2", b"1")
    assert body["body"] == b"no"
