import json
from collections.abc import Mapping
from functools import partial

import pytest
import trio

from appliance.console.feed import MOST, EventStream, Feed
from appliance.console.pages import Page
from appliance.domain.http import Reply
from appliance.errors import GatewayError


class Show:
    """Two pages that live, and how often each was made."""

    def __init__(self) -> None:
        self.facts = {"a": "1", "b": "1"}
        self.made: list[str] = []
        self.leaving = self.gone = False
        pages = (
            Page("now", "Now", parts=("a", "b"), live=lambda: self.facts),
            Page("other", "Other", parts=("c",), live=lambda: {"c": ""}),
            Page("still", "Still"),
        )
        self.feed = Feed(pages, self.render, lambda: self.leaving)

    def render(self, name: str, values: Mapping[str, object]) -> str:
        part = name.removeprefix("parts/").removesuffix(".html")
        self.made.append(part)
        return f"<p>{values[part]}</p>"

    def watch(self) -> EventStream:
        reply = self.feed.watch("now", lambda: not self.gone)
        assert isinstance(reply.body, EventStream)
        return reply.body


async def up_to_date(nursery: trio.Nursery) -> tuple[Show, EventStream]:
    """A feed and somebody who has seen all that there is so far."""
    show = Show()
    nursery.start_soon(show.feed.run)
    viewer = show.watch()
    await viewer.__anext__()
    await viewer.__anext__()
    return show, viewer


def parts(events: bytes) -> dict[str, str]:
    told = [json.loads(event.removeprefix(b"data: ")) for event in events.split(b"\n\n") if event]
    return {event["part"]: event["html"] for event in told}


async def test_a_viewer_gets_everything_first_and_then_what_has_changed(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    show = Show()
    nursery.start_soon(show.feed.run)
    viewer = show.watch()
    assert await viewer.__anext__() == b"retry: 2000\n\n"
    assert parts(await viewer.__anext__()) == {"a": "<p>1</p>", "b": "<p>1</p>"}
    show.facts = {"a": "2", "b": "1"}
    assert parts(await viewer.__anext__()) == {"a": "<p>2</p>"}


async def test_each_part_is_made_once_a_second_for_all_and_not_at_all_for_nobody(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    show = Show()
    nursery.start_soon(show.feed.run)
    await trio.sleep(5.5)
    assert show.made == []
    viewers = [show.watch() for _ in range(20)]
    for viewer in viewers:
        await viewer.__anext__()
    await trio.sleep(3)
    assert show.made == ["a", "b"] * 3  # and nothing of the other page
    for viewer in viewers:
        await viewer.aclose()
    await viewers[0].aclose()
    assert show.feed.viewers == 0
    await trio.sleep(3)
    assert len(show.made) == 6


async def test_a_slow_viewer_gets_the_newest_and_nothing_in_between(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    show, viewer = await up_to_date(nursery)
    for number in range(10):
        show.facts = {"a": str(number), "b": "1"}
        await trio.sleep(1)
    assert parts(await viewer.__anext__()) == {"a": "<p>9</p>"}


async def test_where_nothing_happens_a_comment_says_so(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    _, viewer = await up_to_date(nursery)
    began = trio.current_time()
    assert await viewer.__anext__() == b": nothing new\n\n"
    assert trio.current_time() - began == pytest.approx(15, abs=1)


@pytest.mark.parametrize("how", ["leaving", "gone"])
async def test_it_ends_when_the_server_goes_away_and_when_the_session_is_over(
    how: str, autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    show, viewer = await up_to_date(nursery)
    setattr(show, how, True)
    with pytest.raises(StopAsyncIteration):
        await viewer.__anext__()
    assert viewer.ended
    assert viewer.close()
    assert show.feed.viewers == 0


async def test_there_is_room_for_so_many_and_for_pages_that_live(nursery: trio.Nursery) -> None:
    show = Show()
    replies: list[Reply] = [show.feed.watch("now", lambda: True) for _ in range(MOST)]
    for reply in replies:
        assert isinstance(reply.body, EventStream)
        await reply.body.__anext__()
    with pytest.raises(GatewayError, match="live already"):
        show.feed.watch("now", lambda: True)
    for name in ("still", "none"):
        with pytest.raises(GatewayError, match="No page"):
            partial(show.feed.watch, name)(lambda: True)


async def test_a_page_that_cannot_be_made_ends_nothing(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    show = Show()
    nursery.start_soon(show.feed.run)
    viewer = show.watch()
    await viewer.__anext__()
    show.facts = {}
    await trio.sleep(3)
    show.facts = {"a": "1", "b": "1"}
    assert parts(await viewer.__anext__()) == {"a": "<p>1</p>", "b": "<p>1</p>"}
