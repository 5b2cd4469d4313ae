"""Live pages: their parts are made once a second for all who look at them, and only what has changed is sent.

A viewer gets the newest of each part, never what it missed: nothing queues up for somebody who reads slowly, and
whoever takes nothing at all is cut by the door. A page that nobody looks at is not made.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec
import trio

from appliance.console.pages import Page
from appliance.domain.http import Reply
from appliance.errors import GatewayError

PACE = 1.0  # seconds
MOST = 64  # viewers at once
_QUIET = 15.0  # seconds after which a comment is sent
_LOG = logging.getLogger("appliance.console")
Render = Callable[[str, Mapping[str, object]], str]


@dataclass(slots=True)
class _Part:
    """One live part: its HTML, that as an event, and the beat in which it last changed."""

    html: str = ""
    event: bytes = b""
    beat: int = 0


@dataclass(slots=True)
class _Board:
    """One page's parts, and how many look at it."""

    page: Page
    viewers: int = 0
    parts: dict[str, _Part] = field(default_factory=dict)


class Feed:
    """Makes the parts.

    Args:
        pages: all of them.
        render: a template, by its name.
        leaving: the server goes away.
        beaten: called each second before anything is made.
    """

    def __init__(
        self,
        pages: tuple[Page, ...],
        render: Render,
        leaving: Callable[[], bool],
        beaten: Callable[[], None] = lambda: None,
    ) -> None:
        self.beats = 0
        self.over = False
        self._render = render
        self._leaving = leaving
        self._beaten = beaten
        self._boards = {page.name: _Board(page) for page in pages if page.parts}
        self._beat = trio.Event()

    @property
    def viewers(self) -> int:
        """How many look at live pages."""
        return sum(board.viewers for board in self._boards.values())

    async def run(self) -> None:
        """Beat until cancelled, or until the server goes away: then every viewer's stream ends."""
        due = trio.current_time()
        while not self._leaving():
            self._beaten()
            self.beats += 1
            for board in self._boards.values():
                if board.viewers:
                    try:
                        await self._make(board)
                    except Exception:  # noqa: BLE001 - a page that cannot be made must not end a server
                        _LOG.exception("the page %s could not be made", board.page.name)
            self._wake()
            due = max(due + PACE, trio.current_time())
            await trio.sleep_until(due)
        self.over = True
        self._wake()

    async def _make(self, board: _Board) -> None:
        values = board.page.live()
        for name in board.page.parts:
            html = self._render(f"parts/{name}.html", values)
            part = board.parts.setdefault(name, _Part())
            if part.html != html:
                part.html, part.beat = html, self.beats
                part.event = b"data: " + msgspec.json.encode({"part": name, "html": html}) + b"\n\n"
            await trio.lowlevel.checkpoint()  # tokens do not wait for a whole page

    def _wake(self) -> None:
        beat, self._beat = self._beat, trio.Event()
        beat.set()

    def watch(self, name: str, welcome: Callable[[], bool]) -> Reply:
        """The reply to somebody who looks at a page.

        Args:
            name: of the page.
            welcome: whether they still may.

        Raises:
            GatewayError: `unknown_url`: no such page lives. `too_many_connections`: too many look.
        """
        board = self._boards.get(name)
        if board is None:
            raise GatewayError("unknown_url", f"No page {name[:60]!r} lives.")
        if self.viewers >= MOST:
            raise GatewayError("too_many_connections", f"{MOST} pages of the console are live already.", retry_after=5)
        headers = [("content-type", "text/event-stream"), ("cache-control", "no-store"), ("x-accel-buffering", "no")]
        return Reply(200, headers, EventStream(_Viewer(self, board, welcome)))

    async def beat_after(self, beats: int) -> None:
        """Wait for a beat that is later than this one."""
        while self.beats <= beats and not self.over:
            await self._beat.wait()


class _Viewer:
    """One browser that looks at one page."""

    def __init__(self, feed: Feed, board: _Board, welcome: Callable[[], bool]) -> None:
        self._feed = feed
        self._board = board
        self._welcome = welcome
        self._seen = 0  # the beat whose parts it has
        self._begun = self._left = False

    async def next(self) -> bytes:
        """What has changed since the last call; b"" when nothing more will come."""
        if not self._begun:
            self._begun = True
            self._board.viewers += 1
            return b"retry: 2000\n\n"
        waited = 0.0
        while True:
            await self._feed.beat_after(self._feed.beats)
            if self._feed.over or not self._welcome():
                return b""
            events = b"".join(part.event for part in self._board.parts.values() if part.beat > self._seen)
            self._seen = self._feed.beats
            if events:
                return events
            waited += PACE
            if waited >= _QUIET:
                return b": nothing new\n\n"

    def leave(self) -> None:
        """It looks no more."""
        if self._begun and not self._left:
            self._board.viewers -= 1
        self._left = True


@dataclass(slots=True)
class EventStream:
    """A `domain.http.ReplyStream` of what somebody gives out piece by piece, b"" at the end."""

    source: "_Viewer"
    broken: bool = False
    ended: bool = False

    def __aiter__(self) -> "EventStream":
        return self

    async def __anext__(self) -> bytes:
        piece = b"" if self.ended else await self.source.next()
        if not piece:
            self.ended = True
            raise StopAsyncIteration
        return piece

    async def pump(self, offer: Callable[[bytes], bool]) -> None:
        """Nothing is there beforehand."""

    def keep_alive(self) -> bytes:
        """Nothing: a piece comes often enough."""
        return b""

    def close(self) -> bool:
        """There is nothing to wait for."""
        self.source.leave()
        return True

    async def aclose(self) -> None:
        """As `close`."""
        self.source.leave()
