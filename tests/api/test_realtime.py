"""The handshake, as ASGI events; whole sessions are in tests/e2e."""

from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from appliance.access.hosts import KnownHosts
from appliance.access.keys import Caller, KeyRing
from appliance.access.pace import Pace
from appliance.api.handshake import Handshake
from appliance.api.realtime import RealtimeEndpoint
from appliance.domain.http import Headers, Request
from appliance.domain.secret import Secret
from appliance.errors import GatewayError
from appliance.gateway.accounting import Exchange
from appliance.gateway.realtime import Realtime, Wanted
from tests.fakes.path import Bytes, Path

KEY: Headers = [("authorization", "Bearer sk-1")]


class Sessions:
    """Accepts, says what it was asked, and ends as told."""

    def __init__(self, end: Exception | None = None, *, accept: bool = True) -> None:
        self.wanted: list[Wanted] = []
        self.gateway = Path().gateway
        self._end = end
        self._accept = accept

    async def serve(self, wanted: Wanted, caller: Caller, exchange: Exchange, client: Handshake) -> int:
        self.wanted.append(wanted)
        if self._accept:
            await client.accept("realtime" if wanted.protocol else None, [("x-a", "b")])
        if self._end is not None:
            raise self._end
        while (message := await client.receive()) is not None:
            await client.send(message)
        exchange.done(101)
        return 101


async def talk(
    sessions: Sessions,
    query: str = "model=m&x=1",
    headers: Headers = KEY,
    protocols: list[str] | None = None,
    messages: list[Any] | None = None,
    hosts: KnownHosts | None = None,
    pace: Pace | None = None,
) -> list[Any]:
    """What goes out for one handshake."""
    path, out = Path(), list[Any]()
    events = [{"type": "websocket.connect"}, *(messages or []), {"type": "websocket.disconnect", "code": 1000}]

    async def receive() -> Any:
        return events.pop(0)

    async def send(event: Any) -> None:
        await trio.lowlevel.checkpoint()
        out.append(event)

    keys = KeyRing((), [Secret("sk-1")], date=lambda: 1_800_000_000.0, open=hosts is not None)
    endpoint = RealtimeEndpoint(
        keys, cast("Realtime", sessions), path.accounts, path.ledger, path.metrics, hosts, pace or Pace()
    )
    request = Request("GET", "/v1/realtime", query, headers, "peer", Bytes(b""))
    await endpoint(Handshake(request, protocols or [], receive, send))
    return out


async def test_a_session_is_asked_for_and_carried() -> None:
    sessions = Sessions()
    text = {"type": "websocket.receive", "text": "a", "bytes": None}
    binary = {"type": "websocket.receive", "text": None, "bytes": b""}
    out = await talk(sessions, messages=[text, binary], protocols=["x", "realtime"])
    assert out == [
        {"type": "websocket.accept", "subprotocol": "realtime", "headers": [(b"x-a", b"b")]},
        {"type": "websocket.send", "text": "a"},
        {"type": "websocket.send", "bytes": b""},
    ]
    (wanted,) = sessions.wanted
    assert (wanted.call.model, wanted.query) == ("m", [("x", "1")])


@pytest.mark.parametrize(
    ("headers", "protocols"),
    [(KEY, []), ([("x-api-key", "sk-1")], []), ([], ["realtime", "openai-insecure-api-key.sk-1"])],
)
async def test_a_key_in_any_of_its_places(headers: Headers, protocols: list[str]) -> None:
    out = await talk(Sessions(), headers=headers, protocols=protocols)
    assert out[0]["type"] == "websocket.accept"


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("model=m", [], 401),
        ("model=m", [("x-api-key", "no")], 401),
        ("", KEY, 400),
        ("model=", KEY, 400),
        ("model=m", [*KEY, ("x-byok-provider", "openai")], 501),
    ],
)
async def test_a_handshake_that_is_refused_has_a_status_and_a_body(query: str, headers: Headers, status: int) -> None:
    start, body = await talk(Sessions(), query=query, headers=headers)
    assert (start["type"], start["status"]) == ("websocket.http.response.start", status)
    assert dict(start["headers"])[b"content-length"] == str(len(body["body"])).encode()


async def test_a_foreign_host_is_refused_where_no_key_is_asked_for() -> None:
    hosts = KnownHosts([], "box")
    start, _ = await talk(Sessions(), headers=[("host", "evil.example")], hosts=hosts)
    assert start["status"] == 421
    accepted, *_ = await talk(Sessions(), headers=[("host", "box:8000")], hosts=hosts)
    assert accepted["type"] == "websocket.accept"


@pytest.mark.parametrize("error", [GatewayError("backend_died", "It died."), RuntimeError("bug")])
async def test_what_fails_before_and_after_the_handshake(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    start, _ = await talk(Sessions(error, accept=False))
    assert start["status"] in {500, 502}
    _, close = await talk(Sessions(error))
    assert (close["type"], close["code"]) == ("websocket.close", 1011)


async def test_bad_keys_are_answered_slower_and_slower_here_too(autojump_clock: MockClock) -> None:
    pace, began = Pace(), trio.current_time()
    for _ in range(11):
        await talk(Sessions(), headers=[("x-api-key", "no")], pace=pace)
    assert trio.current_time() - began == 1
