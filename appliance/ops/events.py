"""`/ops/v1/events`: what has happened, as a list, and as it happens."""

from dataclasses import dataclass
from urllib.parse import parse_qs

import msgspec

from appliance.api.reply import json_reply
from appliance.api.routes import Route
from appliance.domain.events import Wanted, kinds_of
from appliance.domain.feeds import Piece
from appliance.domain.http import Reply, Request
from appliance.errors import GatewayError
from appliance.events.journal import Journal, Place
from appliance.ops.following import following, wants_to_follow
from appliance.ops.gate import Gate

_KNOWN = ("since", "kind", "subject", "limit", "follow")
_MOST = 1000
_USUAL = 100


class EventFeed:
    """Somebody who follows; a `domain.feeds.Feed`. The id of each piece is the event's."""

    def __init__(self, place: Place) -> None:
        self._place = place

    async def receive(self, patience: float) -> Piece | None:
        """See `domain.feeds.Feed`."""
        if await self._place.missed():
            told = {
                "missed": True,
                "message": "Older events are not kept; this begins with the first that is.",
            }
            return Piece(msgspec.json.encode(told), event="missed")
        event = await self._place.next(patience)
        return None if event is None else Piece(msgspec.json.encode(event.told()), str(event.id))


@dataclass(frozen=True, slots=True)
class EventRoutes:
    """What the route needs."""

    gate: Gate
    journal: Journal

    def routes(self) -> list[Route]:
        """The route."""
        return [Route("GET", "/ops/v1/events", self._events)]

    async def _events(self, request: Request, _: str) -> Reply:
        self.gate.admit(request)
        query = parse_qs(request.query, keep_blank_values=True)
        asked = {name: values[-1] for name, values in query.items()}
        for name in asked:
            if name not in _KNOWN:
                raise GatewayError("invalid_payload", f"`{name[:60]}` is not one of {', '.join(_KNOWN)}.", param=name)
        wanted, follow = _wanted(asked), wants_to_follow(request, query)
        since = request.header("last-event-id") if follow else None
        since = asked.get("since") if since is None else since
        limit = _number("limit", asked.get("limit", "0" if follow else str(_USUAL)), _MOST)
        place = None if since is None else _number("since", since, 2**53)
        if follow:
            return following(EventFeed(Place(self.journal, await self._begin(place, wanted, limit), wanted)), "events")
        if place is None:
            found = await self.journal.newest(wanted, limit)
        else:
            found = await self.journal.after(place, wanted, limit)
        return json_reply({"events": [event.told() for event in found], "last": self.journal.last})

    async def _begin(self, place: int | None, wanted: Wanted, limit: int) -> int:
        """Where somebody who follows begins: where they were, or so many events before now."""
        if place is not None:
            return place
        last = self.journal.last
        found = await self.journal.newest(wanted, limit) if limit else []
        return found[0].id - 1 if found else last


def _wanted(asked: dict[str, str]) -> Wanted:
    try:
        kinds = kinds_of(asked["kind"]) if "kind" in asked else None
    except ValueError as error:
        raise GatewayError("invalid_payload", f"`kind`: {error}.", param="kind") from error
    return Wanted(kinds, asked.get("subject", ""))


def _number(name: str, text: str, most: int) -> int:
    if not text.isascii() or not text.isdecimal() or int(text[:17]) > most:
        raise GatewayError("invalid_payload", f"`{name}` is a number from 0 to {most}.", param=name)
    return int(text)
