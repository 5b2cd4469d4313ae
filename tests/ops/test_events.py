import json
from pathlib import Path as FilePath

import pytest

from appliance.domain.events import Wanted
from appliance.domain.http import Headers, Reply, Request
from appliance.errors import GatewayError
from appliance.events.journal import Journal, Place
from appliance.ops.events import EventFeed, EventRoutes
from appliance.ops.following import FeedStream
from appliance.ops.gate import Gate
from tests.fakes.journal import journal
from tests.fakes.path import Bytes


async def ask(own: Journal, query: str = "", headers: Headers | None = None) -> Reply:
    (route,) = EventRoutes(Gate(None, own), own).routes()
    return await route.endpoint(Request("GET", "/ops/v1/events", query, headers or [], "", Bytes(b"")), "")


async def subjects(own: Journal, query: str = "") -> list[str]:
    reply = await ask(own, query)
    assert isinstance(reply.body, bytes)
    told = json.loads(reply.body)
    assert told["last"] == own.last
    return [event["subject"] for event in told["events"]]


async def follow(own: Journal, count: int, query: str = "follow=1", headers: Headers | None = None) -> list[str]:
    reply = await ask(own, query, headers)
    assert isinstance(reply.body, FeedStream)
    pieces = [await anext(reply.body) for _ in range(count + 1)]
    return [piece.decode() for piece in pieces[1:]]


@pytest.fixture
def own() -> Journal:
    own = journal()
    for kind, subject in (("key.created", "a"), ("gpu.fault", "GPU 0"), ("key.created", "b"), ("key.revoked", "a")):
        own.tell(kind, subject, "words")
    return own


async def test_a_list_of_the_last_or_of_what_came_after_an_event(own: Journal) -> None:
    first = own.last - 3
    assert await subjects(own) == ["a", "GPU 0", "b", "a"]
    assert await subjects(own, "limit=2") == ["b", "a"]
    assert await subjects(own, f"since={first}&limit=2") == ["GPU 0", "b"]
    assert await subjects(own, "kind=key&subject=a") == ["a", "a"]
    assert await subjects(own, "kind=key.revoked,gpu") == ["GPU 0", "a"]
    assert await subjects(own, f"since={own.last}") == []


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("since=x", "since"),
        ("since=-1", "since"),
        ("since=99999999999999999999", "since"),
        ("limit=1001", "limit"),
        ("limit=", "limit"),
        ("kind=keys", "kind"),
        ("colour=red", "colour"),
    ],
)
async def test_a_question_that_is_none_is_told(own: Journal, query: str, named: str) -> None:
    with pytest.raises(GatewayError, match=named):
        await ask(own, query)


async def test_whoever_follows_begins_now_or_earlier(own: Journal) -> None:
    reply = await ask(own, "follow=1")
    assert isinstance(reply.body, FeedStream)
    own.tell("key.created", "new", "words")
    assert [await anext(reply.body) for _ in range(2)][1].startswith(f"id: {own.last}\ndata: ".encode())
    begun = await follow(own, 2, "follow=1&limit=2")
    assert [json.loads(piece.split("data: ")[1])["subject"] for piece in begun] == ["a", "new"]


async def test_whoever_comes_back_goes_on_after_the_last_event_it_had(own: Journal) -> None:
    place = str(own.last - 2)
    for query, headers in (
        (f"follow=1&since={place}", []),
        ("follow=1", [("last-event-id", place)]),
        ("", [("accept", "text/event-stream"), ("last-event-id", place)]),
        ("since=0", [("accept", "text/event-stream"), ("last-event-id", place)]),
    ):
        begun = await follow(own, 2, query, headers)
        assert [json.loads(piece.split("data: ")[1])["subject"] for piece in begun] == ["b", "a"]


async def test_what_is_not_kept_any_more_is_told_first(own: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lost(_: int) -> bool:
        return True

    monkeypatch.setattr(own, "lost", lost)
    feed = EventFeed(Place(own, own.last - 1, Wanted()))
    first, second = await feed.receive(5), await feed.receive(5)
    assert first is not None
    assert second is not None
    assert (first.event, json.loads(first.data)["missed"], first.id) == ("missed", True, "")
    assert second.id == str(own.last)


async def test_nobody_else_may_read_it(own: Journal, tmp_path: FilePath) -> None:
    from appliance.access.keys import KeyRing

    (route,) = EventRoutes(Gate(KeyRing((), date=lambda: 0.0), own), own).routes()
    with pytest.raises(GatewayError, match="No key"):
        await route.endpoint(Request("GET", "/ops/v1/events", "", [], "", Bytes(b"")), "")
