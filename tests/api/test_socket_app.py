import trio
import trio.testing

from appliance.api.handshake import Handshake
from appliance.api.reply import error_reply
from appliance.api.socket_app import SocketApp, Waiting, endpoint_for, request_of, serve_socket
from appliance.domain.http import Reply
from appliance.errors import GatewayError
from tests.fakes.asgi import Socket
from tests.fakes.path import Bytes


class Echo:
    """Serves one path: says what it was asked; `late` never gets to it."""

    def __init__(self, *, late: bool = False) -> None:
        self._late = late

    def serves(self, path: str) -> bool:
        return path == "/echo"

    def refusal(self, error: GatewayError) -> Reply:
        return error_reply(error, "req_1")

    async def __call__(self, handshake: Handshake) -> None:
        if self._late:
            await trio.sleep_forever()
        await handshake.accept(None, [])
        await handshake.send(f"{handshake.request.path}?{handshake.request.query} {handshake.request.peer}")


async def test_the_first_that_serves_a_path_gets_it() -> None:
    socket = Socket("/echo?a=1", [("X-A", "b")])
    await SocketApp([Echo(late=True), Echo()][1:])(socket.scope, socket.receive, socket.send)
    assert socket.texts == ["/echo?a=1 peer"]
    assert request_of(socket.scope, Bytes(b"")).headers == [("x-a", "b")]
    assert endpoint_for(socket.scope, []) is None


async def test_a_path_that_nobody_serves_is_refused_and_what_is_no_websocket_gets_nothing() -> None:
    socket = Socket("/other")
    await SocketApp([Echo()])(socket.scope, socket.receive, socket.send)
    assert socket.sent[0]["status"] == 404
    silent = Socket("/echo")
    await SocketApp([Echo()])({"type": "lifespan"}, silent.receive, silent.send)
    assert silent.sent == []


async def test_a_handshake_that_waits_is_answered_when_the_server_goes_away() -> None:
    socket, waiting = Socket("/echo"), Waiting()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_socket, Echo(late=True), socket.scope, socket.receive, socket.send, waiting)
        await trio.testing.wait_all_tasks_blocked()
        waiting.interrupt(GatewayError("draining", "The server is going away."))
    assert socket.sent[0]["status"] == 503
