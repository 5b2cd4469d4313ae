"""Random and mutated bytes on real connections: each ends or is answered in time, and nothing is read two ways."""

import base64
import json
import re
from dataclasses import dataclass

import h11
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.api.reply import error_reply
from appliance.domain.http import Reply, Request
from appliance.door.surroundings import Patience
from appliance.errors import GatewayError
from fuzz.second_opinion import Message, by_h11, llhttp
from tests.fakes.doors import Pieces, Served, everything, hello, served
from tests.fakes.packets import ACCEPTED, REFUSED, cut

PATIENCE = Patience(head=0.2, body=0.2, idle=0.3, write_stall=5)
BOUND = 15  # seconds: what all of these and a slow machine may add up to
AT_ONCE = 24
GOOD = b"GET /good HTTP/1.1\r\nHost: box\r\nConnection: close\r\n\r\n"
_SEEN = re.compile(rb"\r\nx-seen: (\S+)\r\n")

# A websocket is Hypercorn's, which ends an idle connection when its own timer says so.
_PACKETS = [*ACCEPTED.values(), *(raw for raw, _ in REFUSED.values() if len(raw) < 1000)]
PARTS = st.sampled_from([raw for raw in _PACKETS if b"websocket" not in raw.lower()])
INSERTED = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"0\r\n\r\n", b"\r\n\r\n", b"Content-Length: 5\r\n", b"A: b\r\n"]
) | st.binary(max_size=3)
CHANGES = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), INSERTED), max_size=3)


@dataclass(frozen=True, slots=True)
class Client:
    """What one client does."""

    pieces: list[bytes]
    pause: float
    half_close: bool


@st.composite
def clients(draw: st.DrawFn) -> Client:
    if draw(st.integers(0, 9)) == 0:
        raw = draw(st.binary(max_size=300))
    else:
        raw = b"".join(draw(st.lists(PARTS, min_size=1, max_size=3)))
        for at, remove, piece in draw(CHANGES):
            place = at % (len(raw) + 1)
            raw = raw[:place] + piece + raw[place + remove :]
    cuts = draw(st.sets(st.integers(1, 400), max_size=4))
    return Client(cut(raw, cuts), draw(st.sampled_from([0, 0.001, 0.01])), draw(st.integers(0, 4)) == 0)


async def tell(request: Request) -> Reply:
    """An application that says in a header what it was asked, and streams the answer to a POST."""
    seen = {"method": request.method, "path": request.path, "query": request.query, "headers": request.headers}
    error: GatewayError | None = None
    try:
        body = await request.body.read(1000)
        seen["body"] = body.decode("latin-1")
    except GatewayError as caught:
        error = caught
    header = ("x-seen", base64.b64encode(json.dumps(seen).encode()).decode())
    if error is not None:
        refusal = error_reply(error, "req_x")
        return Reply(refusal.status, [*refusal.headers, header], refusal.body)
    return Reply(200, [header], Pieces(b"a", b"bc") if request.method == "POST" else b"fine")


async def talk(server: Served, client: Client) -> tuple[bytes, bool]:
    """Everything that came back, and whether the connection ended in order."""
    got = b""
    async with await server.connect() as stream:
        with trio.move_on_after(BOUND) as scope:
            try:
                for piece in client.pieces:
                    await stream.send_all(piece)
                    await trio.sleep(client.pause)
                if client.half_close:
                    await stream.send_eof()
                while data := await stream.receive_some(65536):
                    got += data
            except trio.BrokenResourceError:
                return got, False
        assert not scope.cancelled_caught, (client, got)
    return got, True


def answers(got: bytes) -> list[tuple[int, dict[str, object] | None]]:
    """Status of each final answer and what the application was asked, all parsed by h11."""
    found: list[tuple[int, dict[str, object] | None]] = []
    while got:
        heads = got.split(b"\r\n\r\n")
        final = next(head for head in heads if not head.startswith(b"HTTP/1.1 100"))
        match = _SEEN.search(final + b"\r\n")
        seen = json.loads(base64.b64decode(match[1])) if match else None
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method=seen["method"] if seen else "GET", target="/", headers=[("host", "box")]))
        client.send(h11.EndOfMessage())
        client.receive_data(got)
        client.receive_data(b"")  # an answer to HTTP/1.0 ends with the connection
        status = 0
        while not isinstance(event := client.next_event(), h11.EndOfMessage):
            assert isinstance(event, h11.InformationalResponse | h11.Response | h11.Data), event
            if isinstance(event, h11.Response):
                status = event.status_code
        found.append((status, seen))
        got = client.trailing_data[0]
    return found


def the_same(seen: dict[str, object], other: Message, *, whole: bool) -> None:
    assert seen["method"] == other.method
    path, _, query = other.target.partition("?")
    if other.target.startswith("/"):
        assert (seen["path"], seen["query"]) == (path, query)
    headers = [tuple(pair) for pair in seen["headers"]]  # type: ignore[attr-defined]
    assert [(name, value.lower()) for name, value in headers] == [(n, v.lower()) for n, v in other.headers]
    if whole:
        assert (seen["body"], other.complete) == (other.body.decode("latin-1"), True)


def check(client: Client, got: bytes) -> None:
    raw = b"".join(client.pieces)
    found = answers(got)
    asked = [seen for _, seen in found if seen is not None]
    refusals = [status for status, seen in found if seen is None]
    assert len(refusals) <= 1, found
    assert not refusals or found[-1][1] is None, "something was answered after a refusal"
    assert all(status in {400, 403, 404, 405, 408, 413, 421, 431} for status in refusals), refusals
    for others, reads_all in ((llhttp(raw), True), (by_h11(raw), False)):  # h11 refuses empty lines before a request
        for number, seen in enumerate(asked):
            if any(name == "upgrade" for name, _ in seen["headers"]):  # type: ignore[attr-defined]
                break  # others stop reading HTTP there
            if number == len(others) and not reads_all:
                break
            assert number < len(others), (asked, others)
            the_same(seen, others[number], whole="body" in seen and (reads_all or others[number].complete))


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(clients(), min_size=AT_ONCE, max_size=AT_ONCE))
async def test_whatever_is_sent_is_answered_in_order_or_ended_and_the_next_client_is_served(
    crowd: list[Client],
) -> None:
    async def one(client: Client) -> None:
        got, in_order = await talk(server, client)
        if in_order:
            check(client, got)

    async with served(tell, patience=PATIENCE) as server:
        async with trio.open_nursery() as nursery:
            for client in crowd:
                nursery.start_soon(one, client)
        got, in_order = await talk(server, Client([GOOD], 0, half_close=False))
        assert in_order
        assert [status for status, _ in answers(got)] == [200]
        with trio.fail_after(BOUND):
            while server.listener.connections:
                await trio.sleep(0.01)
        assert "error" not in server.told.events


async def test_a_client_that_pipelines_does_not_hold_up_the_others() -> None:
    asked: list[str] = []

    async def note(request: Request) -> Reply:
        asked.append(request.path)
        return await hello(request)

    async with served(note) as server, await server.connect() as greedy, await server.connect() as other:
        await trio.sleep(0.05)  # both are accepted
        await greedy.send_all(GOOD.replace(b"Connection: close\r\n", b"") * 1000)
        await other.send_all(GOOD.replace(b"good", b"other"))
        await everything(other)
        assert asked.index("/other") < 500
