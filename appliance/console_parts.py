"""The console of one server: its pages, and what they are made of.

A page is a line in `ConsoleParts._pages`; `appliance/console/__init__.py` says how one is written.
"""

import platform
import secrets
from collections.abc import Awaitable, Callable, Mapping
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
from appliance.console.orders import canceller, orders_of
from appliance.console.pages import Asked, Done, Page
from appliance.console.pulse import Pulse
from appliance.console.reading import LogPages
from appliance.console.recently import Recently
from appliance.console.sessions import Sessions
from appliance.console.site import Console
from appliance.console.talking import Playground
from appliance.console.templating import environment
from appliance.console.views import health as health_view
from appliance.console.views import now as now_view
from appliance.console.views import requests as requests_view
from appliance.console_editing import editing_pages
from appliance.diagnosis.examination import Examination
from appliance.domain.calls import Operation
from appliance.domain.http import Reply, Request
from appliance.domain.secret import Secret
from appliance.fleet.table import FleetTable
from appliance.gateway.accounting import Accounts
from appliance.observe.host import answered
from appliance.observe.sink import lines_dropped, said
from appliance.operating import Operating
from appliance.routing.catalogue import Catalogue

_TOKEN = 32  # bytes
_FIRST_LOOK, _NEXT_LOOK = 3.0, 10.0  # seconds that a page waits for the checks of the machine
_WAITS = ("loading", "queued")  # phases of an exchange


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the pages get what they show.

    Attributes:
        operating: what operators may see and order.
        own: the key of the playground.
        date: seconds since 1970.
        ask: the application that everybody asks.
        leaving: the server goes away.
        disks: a path on each disk that matters, by its purpose.
        url: where browsers reach it.
        examination: of the machine; None where there is no configuration file.
    """

    operating: Operating
    fleet: FleetTable
    catalogue: Catalogue
    accounts: Accounts
    keys: KeyRing
    hosts: KnownHosts
    pace: Pace
    pulse: Pulse
    own: Secret
    date: Callable[[], float]
    ask: Callable[[Request], Awaitable[Reply]]
    leaving: Callable[[], bool]
    disks: Mapping[str, str]
    url: str
    examination: Examination | None = None


class ConsoleParts:
    """The console, connected: `run` runs, `routes` are served, and `links` beside the others of `/ops`."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._errands = Errands()
        self._disks: dict[str, trio.CapacityLimiter] = {}  # one thread that hangs for each, and no second one
        sessions = Sessions(partial(secrets.token_urlsafe, _TOKEN))
        gate = sources.operating.orders.gate
        self._recently = Recently(gate.journal)
        entry = Entry(sources.keys, gate, sessions, trio.current_time, trio.sleep, sources.pace)
        templates, pages = environment(), self._pages()
        self.feed = Feed(pages, partial(_rendered, templates), sources.leaving, self._beat)
        console = Console(
            pages,
            entry,
            self.feed,
            sources.hosts,
            templates,
            __version__,
            secure=sources.url.startswith("https:"),
            box=platform.node(),
        )
        self.routes = console.routes()
        self.links = LinkRoutes(gate, sessions, trio.current_time, sources.url)

    def _pages(self) -> tuple[Page, ...]:
        """Every page, in the order of their list."""
        orders = orders_of(self._sources.operating.orders, self._errands)
        fleet, leaving = self._sources.fleet, self._sources.leaving
        logs = LogPages(self._sources.operating.orders.orders, said, lambda: sorted(fleet.snapshot().replicas), leaving)
        snapshot, catalogue = self._sources.operating.snapshot, self._sources.catalogue
        play = Playground(self._sources.ask, self._sources.own, snapshot.take, self._chats, lambda: catalogue.default)
        cancel = {"cancel": canceller(self._sources.operating.requests)}
        return (
            Page("now", "Now", parts=now_view.PARTS, live=self._now, actions=orders),
            Page("requests", "Requests", self._wanted, cancel, requests_view.PARTS, self._requests),
            Page("playground", "Playground", play.page, {"chat": play.chat}),
            Page("logs", "Logs", logs.page, streams={"follow": logs.follow, "file": logs.file}),
            *editing_pages(self._sources.operating, fleet, catalogue, self._sources.url),
            Page("health", "Health", self._health, {"examine": self._examine}),
        )

    async def run(self) -> None:
        """Keep pages alive, and carry out what is ordered on them, until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._errands.run, name="errands")
            nursery.start_soon(self._recently.run, name="recent events")
            if self._sources.examination is not None:
                nursery.start_soon(self._sources.examination.run, name="doctor")
            await self.feed.run()

    def on_the_box(self) -> list[Route]:
        """For whoever can reach them, which takes no key."""
        return replace(self.links, gate=replace(self.links.gate, keys=None)).routes()

    def _beat(self) -> None:
        under_way = self._sources.accounts.under_way.values()
        streaming = [one.answer.tokens for one in under_way if one.answer is not None]
        waiting = sum(one.phase in _WAITS for one in under_way)
        self._sources.pulse.beat(self._sources.date(), streaming, len(under_way), waiting)

    def _now(self) -> dict[str, Any]:
        return now_view.values(self._sources.operating.snapshot.take(), self._sources.pulse, self._recently)

    def _chats(self) -> list[str]:
        listed = self._sources.catalogue.listed(self._sources.fleet.snapshot())
        return [name for name, one in listed.items() if one.operations is None or Operation.CHAT in one.operations]

    async def _health(self, _: Asked) -> dict[str, Any]:
        operating, disks = self._sources.operating, {}
        for purpose, path in self._sources.disks.items():
            disks[purpose] = path, await answered(path, self._disks.setdefault(purpose, trio.CapacityLimiter(1)))
        reload = operating.orders.reload
        file = await reload(True) if reload is not None else None  # noqa: FBT003 - the type says no more
        return health_view.values(operating.snapshot.take(), disks, file, lines_dropped(), await self._examined())

    async def _examined(self) -> health_view.Examined | None:
        """As it was found last; the first time it is waited for a little."""
        own = self._sources.examination
        if own is None:
            return None
        if own.at is None:
            await own.look(_FIRST_LOOK)
        return health_view.Examined(
            own.findings, None if own.at is None else self._sources.date() - own.at, own.trouble
        )

    async def _examine(self, _: Asked) -> Done:
        own = self._sources.examination
        if own is None:
            return Done("There is no configuration file, so there is nothing to check.", ok=False)
        if not await own.look(_NEXT_LOOK):
            return Done("The checks are under way; load the page again in a moment.")
        return Done(
            "The checks could not be made." if own.trouble else "This machine was looked at again.", not own.trouble
        )

    def _requests(self, wanted: str = "") -> dict[str, Any]:
        pulse = self._sources.pulse
        return requests_view.values(self._sources.operating.snapshot.take(), pulse.recent, wanted, pulse.failed)

    async def _wanted(self, asked: Asked) -> dict[str, Any]:
        return self._requests(wanted) if (wanted := asked.query.get("q", "")) else {}


def _rendered(templates: Environment, name: str, values: Mapping[str, object]) -> str:
    return templates.get_template(name).render(values)
