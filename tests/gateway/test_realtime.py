"""Sessions between a scripted client and a real websocket server; time passes by itself."""

import functools
import json
from typing import Any

import trio
import trio.testing
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

from appliance.access.keys import Caller
from appliance.config.schema import Backend, Model, Runtime
from appliance.domain.calls import Call, Operation, Usage
from appliance.domain.http import Headers, Reply
from appliance.domain.targets import Address, Endpoint
from appliance.errors import GatewayError
from appliance.gateway.accounting import Exchange
from appliance.gateway.realtime import Realtime, Wanted
from appliance.guardrails.rules import Guardrails
from appliance.routing.clouds import Clouds
from tests.fakes.path import Path
from tests.fakes.runtime import FakeRuntime

CALLER = Caller("alice", frozenset({"infer"}), ("*",))


class Client:
    """Says its messages, then waits; remembers what it is told."""

    def __init__(self, *messages: str | bytes | None) -> None:
        self._messages = list(messages)
        self.told: list[Any] = []
        self.accepted = trio.Event()

    async def refuse(self, reply: Reply) -> None:
        self.told.append(reply)

    async def accept(self, protocol: str | None, headers: Headers) -> None:
        self.told.append(protocol)
        self.accepted.set()

    async def receive(self) -> str | bytes | None:
        if not self._messages:
            await trio.sleep_forever()
        return self._messages.pop(0)

    async def send(self, message: str | bytes) -> None:
        self.told.append(message)

    async def close(self, code: int, reason: str) -> None:
        self.told.append((code, reason))


async def engine(request: WebSocketRequest) -> None:
    if "no" in request.path:
        await request.reject(418, extra_headers=[(b"content-type", b"text/plain")], body=b"teapot")
        return
    connection = await request.accept()
    try:
        while (message := await connection.get_message()) != "close":
            await connection.send_message(message)
        await connection.aclose(4000, "done")
    except ConnectionClosed:
        pass


async def session(
    client: Client, model: str = "m", *, end: GatewayError | None = None, runtime: FakeRuntime | None = None
) -> tuple[Exchange, int]:
    """One session with a model of the engine above; ended from outside when `end` says so."""
    path = Path(runtime=runtime)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(functools.partial(serve_websocket, engine, "127.0.0.1", 0, ssl_context=None))
        box = Backend(name="talk", engine="openai", url="http://x"), Endpoint(Address("http", "127.0.0.1", server.port))
        models = [Model(name=name, targets=(f"talk/{name}",), kind="realtime") for name in ("m", "no")]
        models.append(Model(name="both", targets=("r", "talk/m"), kind="realtime"))
        runtimes = [Runtime(name="r", engine="command", command=("x",), kinds=("realtime",))]
        path.gateway.change(models, runtimes, [box], Clouds(), Guardrails(), {})
        exchange = path.accounts.open(Operation.REALTIME, "peer", None)
        exchange.key = "alice"
        if end is not None:

            async def interrupt() -> None:
                await client.accepted.wait()
                path.gateway.interrupt(end)

            nursery.start_soon(interrupt)
        wanted = Wanted(Call(Operation.REALTIME, model, b"", stream=True), [], protocol=False)
        with trio.fail_after(20):
            status = await Realtime(path.gateway).serve(wanted, CALLER, exchange, client)
        nursery.cancel_scope.cancel()
    assert exchange.settled
    return exchange, status


async def test_messages_pass_both_ways_until_the_engine_closes() -> None:
    done = json.dumps({"type": "response.done", "response": {"usage": {"input_tokens": 2, "output_tokens": 3}}})
    client = Client("a", b"b", done, done, "close")
    exchange, status = await session(client)
    assert client.told == [None, "a", b"b", done, done, (4000, "done")]
    assert (status, exchange.usage) == (101, Usage(4, 6))
    assert exchange.bytes_out == 2 + 2 * len(done)


async def test_a_client_that_leaves_ends_it_in_good_order() -> None:
    client = Client("a", None)
    _, status = await session(client)
    assert (status, client.told[0]) == (101, None)


async def test_a_server_that_goes_away_says_so() -> None:
    client = Client()
    await session(client, end=GatewayError("draining", "Going away."))
    assert json.loads(client.told[1])["error"]["code"] == "draining"
    assert client.told[2] == (1001, "draining")


async def test_what_the_engine_says_in_place_of_agreeing_is_passed_on() -> None:
    client = Client()
    _, status = await session(client, "no")
    (reply,) = client.told
    assert (status, reply.status, reply.body) == (418, 418, b"teapot")
    assert ("x-error-source", "backend") in reply.headers


async def test_a_runtime_that_does_not_get_ready_gives_way_to_another_target() -> None:
    refusal = GatewayError("model_loading", "it loads")
    client = Client(None)
    exchange, status = await session(client, "both", runtime=FakeRuntime(refusal))
    assert (status, exchange.target) == (101, "talk/m")


async def test_a_session_whose_replica_is_told_to_end_while_the_engine_agrees_says_so() -> None:
    path, error = Path(), GatewayError("draining", "it is being stopped")
    client = Client()
    exchange = path.accounts.open(Operation.REALTIME, "peer", None)

    async def agree(request: WebSocketRequest) -> None:
        exchange.cut(error)
        await engine(request)

    async with trio.open_nursery() as nursery:
        server = await nursery.start(functools.partial(serve_websocket, agree, "127.0.0.1", 0, ssl_context=None))
        box = Backend(name="talk", engine="openai", url="http://x"), Endpoint(Address("http", "127.0.0.1", server.port))
        path.gateway.change(
            [Model(name="m", targets=("talk/m",), kind="realtime")], [], [box], Clouds(), Guardrails(), {}
        )
        wanted = Wanted(Call(Operation.REALTIME, "m", b"", stream=True), [], protocol=False)
        with trio.fail_after(20):
            await Realtime(path.gateway).serve(wanted, CALLER, exchange, client)
        nursery.cancel_scope.cancel()
    assert "draining" in client.told[-2]
    assert client.told[-1][0] == 1001
