"""A console without a server: requests in, replies out, with a clock that stands still until it is told."""

import hashlib
import itertools
import re
from collections.abc import Callable
from typing import Literal
from urllib.parse import urlencode

import trio

from appliance.access.hosts import KnownHosts
from appliance.access.keys import KeyRing
from appliance.api.routes import Router
from appliance.config.schema import Key
from appliance.console.entry import Entry
from appliance.console.feed import Feed
from appliance.console.pages import Page
from appliance.console.pulse import Pulse
from appliance.console.sessions import Sessions
from appliance.console.site import Console
from appliance.console.templating import environment
from appliance.console.views import now
from appliance.domain.http import Headers, Reply, Request
from appliance.ops.gate import Gate
from tests.fakes.journal import journal

ADMIN, USER = "sk-admin-1", "sk-user-1"
HOST = "127.0.0.1:8000"
IDLE: dict[str, list[object]] = {"replicas": [], "backends": [], "gpus": [], "models": []}
NOW = Page("now", "Now", parts=now.PARTS, live=lambda: now.values(IDLE, Pulse()))


def key(name: str, text: str, *scopes: Literal["infer", "admin"]) -> Key:
    return Key(name, "sha256:" + hashlib.sha256(text.encode()).hexdigest(), scopes)


class Body:
    def __init__(self, data: bytes) -> None:
        self.data = data

    async def read(self, limit: int) -> bytes:
        assert len(self.data) <= limit
        return self.data


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """A console, and a browser in front of it that keeps its cookies."""

    def __init__(self, *pages: Page, secure: bool = False, host: str = HOST) -> None:
        self.clock, self.waited, self.cookies, self.host = Clock(), list[float](), dict[str, str](), host
        tokens = itertools.count(1)
        self.sessions = Sessions(lambda: f"token-{next(tokens):032}")
        self.keys = KeyRing([key("root", ADMIN, "admin"), key("alice", USER, "infer")], date=lambda: 0.0)

        async def wait(seconds: float) -> None:
            await trio.lowlevel.checkpoint()
            self.waited.append(seconds)

        self.entry = Entry(self.keys, Gate(self.keys, journal()), self.sessions, self.clock, wait)
        self.leaving = False
        table, templates = (NOW, *pages), environment()
        render: Callable[..., str] = lambda name, values: templates.get_template(name).render(values)  # noqa: E731
        self.feed = Feed(table, render, lambda: self.leaving)
        self.console = Console(table, self.entry, self.feed, KnownHosts((), "box"), templates, "1.2.3", secure=secure)
        self.router = Router(self.console.routes())

    async def ask(self, method: str, path: str, form: dict[str, str] | None = None, headers: Headers = []) -> Reply:  # noqa: B006
        """What the console answers; cookies are kept as a browser would."""
        sent: Headers = [("host", self.host), *headers]
        if self.cookies:
            sent.append(("cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items())))
        if form is not None:
            sent.append(("content-type", "application/x-www-form-urlencoded"))
        path, _, query = path.partition("?")
        request = Request(method, path, query, sent, "10.0.0.9", Body(urlencode(form or {}).encode()))
        route, argument = self.router.find(method, path)
        reply = await route.endpoint(request, argument)
        for name, value in reply.headers:
            if name == "set-cookie":
                cookie, _, rest = value.partition(";")
                key_, _, text = cookie.partition("=")
                if "Max-Age=0" in rest:
                    self.cookies.pop(key_, None)
                else:
                    self.cookies[key_] = text
        return reply

    async def log_in(self, text: str = ADMIN, to: str = "now", headers: Headers = []) -> Reply:  # noqa: B006
        page = await self.ask("GET", f"/console/login?to={to}")
        return await self.ask(
            "POST", "/console/login", {"key": text, "to": to, "knock": hidden(page, "knock")}, headers
        )

    async def order(self, path: str, headers: Headers = [], **form: str) -> Reply:  # noqa: B006
        """As a form of the page would."""
        page = await self.ask("GET", "/")
        return await self.ask("POST", path, {"token": hidden(page, "token"), **form}, headers)


def text(reply: Reply) -> str:
    assert isinstance(reply.body, bytes)
    return reply.body.decode()


def hidden(reply: Reply, name: str) -> str:
    """The value of a hidden member of a form."""
    found = re.search(rf'name="{name}" value="([^"]*)"', text(reply))
    assert found, name
    return found[1]


def header(reply: Reply, name: str) -> str:
    return next((value for key, value in reply.headers if key == name), "")


def cookies(reply: Reply) -> list[str]:
    return [value for key, value in reply.headers if key == "set-cookie"]
