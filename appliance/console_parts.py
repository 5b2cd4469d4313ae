"""The console of one server: its pages, and what they are made of.

A page is a line in `ConsoleParts._pages`; `appliance/console/__init__.py` says how one is written.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import trio
from jinja2 import Environment

from appliance import __version__
from appliance.access.hosts import KnownHosts
from appliance.access.keys import KeyRing
from appliance.access.pace import Pace
from appliance.api.routes import Route
from appliance.console.entry import Entry
from appliance.console.errands import Errands
from appliance.console.feed import Feed
from appliance.console.links import LinkRoutes
from appliance.console.orders import orders_of
from appliance.console.pages import Page
from appliance.console.pulse import Pulse
from appliance.console.sessions import Sessions
from appliance.console.site import Console
from appliance.console.templating import environment
from appliance.console.views import now as now_view
from appliance.gateway.accounting import Accounts
from appliance.operating import Operating
from appliance.ops.gate import Gate

_TOKEN = 32  # bytes
_WAITS = ("loading", "queued")  # phases of an exchange


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the pages get what they show.

    Attributes:
        operating: what operators may see and order.
        date: seconds since 1970.
        leaving: the server goes away.
        url: where browsers reach it.
    """

    operating: Operating
    accounts: Accounts
    keys: KeyRing
    hosts: KnownHosts
    pace: Pace
    pulse: Pulse
    date: Callable[[], float]
    leaving: Callable[[], bool]
    url: str


class ConsoleParts:
    """The console, connected: `run` runs, `routes` are served, and `links` beside the others of `/ops`."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._errands = Errands()
        sessions = Sessions(partial(secrets.token_urlsafe, _TOKEN))
        entry = Entry(sources.keys, sessions, trio.current_time, trio.sleep, sources.pace)
        templates, pages = environment(), self._pages()
        self.feed = Feed(pages, partial(_rendered, templates), sources.leaving, self._beat)
        console = Console(
            pages, entry, self.feed, sources.hosts, templates, __version__, secure=sources.url.startswith("https:")
        )
        self.routes = console.routes()
        self.links = LinkRoutes(Gate(sources.keys), sessions, trio.current_time, sources.url)

    def _pages(self) -> tuple[Page, ...]:
        """Every page, in the order of their list."""
        orders = orders_of(self._sources.operating.orders, self._errands)
        return (Page("now", "Now", parts=now_view.PARTS, live=self._now, actions=orders),)

    async def run(self) -> None:
        """Keep pages alive, and carry out what is ordered on them, until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._errands.run, name="errands")
            await self.feed.run()

    def on_the_box(self) -> list[Route]:
        """For whoever can reach them, which takes no key."""
        return replace(self.links, gate=Gate(None)).routes()

    def _beat(self) -> None:
        under_way = self._sources.accounts.under_way.values()
        streaming = [one.answer.tokens for one in under_way if one.answer is not None]
        waiting = sum(one.phase in _WAITS for one in under_way)
        self._sources.pulse.beat(self._sources.date(), streaming, len(under_way), waiting)

    def _now(self) -> dict[str, Any]:
        return now_view.values(self._sources.operating.snapshot.take(), self._sources.pulse)


def _rendered(templates: Environment, name: str, values: Mapping[str, object]) -> str:
    return templates.get_template(name).render(values)
