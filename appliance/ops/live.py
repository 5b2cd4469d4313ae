"""`/ops/v1/state` and `/ops/v1/live`: the snapshot, once or every second. It is rendered once for all who look."""

from dataclasses import dataclass

import msgspec
import trio

from appliance.api.reply import json_reply
from appliance.api.routes import Route
from appliance.domain.feeds import Piece
from appliance.domain.http import Reply, Request
from appliance.errors import GatewayError
from appliance.ops.following import following
from appliance.ops.gate import Gate
from appliance.ops.snapshot import Snapshot

_PAUSE = 1.0  # seconds between two snapshots


class Live:
    """Takes a snapshot a second while somebody looks. A slow reader gets the newest one, and holds nobody up."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._turn = trio.Event()
        self._piece: Piece | None = None  # of this turn, once somebody wanted it
        self.number = 0
        self.ended = False

    async def run(self) -> None:
        """Turn the pages until cancelled."""
        while True:
            self._snapshot.sample()
            self._next()
            await trio.sleep(_PAUSE)

    def end(self) -> None:
        """The server goes away: so do those who look."""
        self.ended = True
        self._next()

    def piece(self) -> Piece:
        """The snapshot of this turn."""
        if self._piece is None:
            self._piece = Piece(msgspec.json.encode(self._snapshot.take()))
        return self._piece

    async def turned(self) -> None:
        """Wait for the next turn."""
        await self._turn.wait()

    def _next(self) -> None:
        self.number += 1
        self._piece = None
        turn, self._turn = self._turn, trio.Event()
        turn.set()


class LiveFeed:
    """Somebody who looks; a `domain.feeds.Feed`."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._seen = -1

    async def receive(self, patience: float) -> Piece | None:
        """See `domain.feeds.Feed`."""
        with trio.move_on_after(patience):
            while self._seen == self._live.number:
                await self._live.turned()
            if self._live.ended:
                raise GatewayError("draining", "The server is going away.")
            self._seen = self._live.number
            return self._live.piece()
        return None


@dataclass(frozen=True, slots=True)
class LiveRoutes:
    """What the routes need."""

    gate: Gate
    snapshot: Snapshot
    live: Live

    def routes(self) -> list[Route]:
        """The routes."""
        return [Route("GET", "/ops/v1/state", self._state), Route("GET", "/ops/v1/live", self._follow)]

    async def _state(self, request: Request, _: str) -> Reply:
        self.gate.admit(request)
        return json_reply(self.snapshot.take())

    async def _follow(self, request: Request, _: str) -> Reply:
        self.gate.admit(request)
        return following(LiveFeed(self.live), "what the appliance does, every second")
