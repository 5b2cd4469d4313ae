"""The console's routes: log in and out, pages, what is ordered on them, the live feed, style and script."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

from jinja2 import Environment
from markupsafe import Markup

from appliance.access.hosts import KnownHosts
from appliance.api.routes import Route
from appliance.console.entry import Entry
from appliance.console.feed import Feed
from appliance.console.figures import sentence
from appliance.console.guard import PROTECTED, check_origin, check_token, cookie, cookie_of
from appliance.console.pages import Asked, Done, Page, Shown, Values
from appliance.console.sessions import LONGEST
from appliance.console.templating import read
from appliance.domain.http import Headers, Reply, Request
from appliance.errors import GatewayError, OperatorError

SESSION, THEME, KNOCK = "appliance-session", "appliance-theme", "appliance-knock"
_THEMES = ("light", "dark")
_FILES = {"console.css": "text/css", "console.js": "text/javascript", "icon.svg": "image/svg+xml"}
_LARGEST = 2**20  # bytes of a form: a whole configuration fits
_LOGIN = "/console/login"
_DYNAMIC: Headers = [("content-type", "text/html; charset=utf-8"), ("cache-control", "no-store"), *PROTECTED]
Handler = Callable[[Request, str], Awaitable[Reply]]


class Console:
    """What a browser sees.

    Args:
        pages: in the order of their list.
        entry: who comes in.
        feed: keeps pages alive.
        hosts: a page is given to who asks for a name of ours only (a foreign one may be another site's trick).
        templates: as `templating.environment` makes them.
        version: of the program.
        secure: browsers reach us over TLS.
        box: the name of this machine, so that somebody who looks after several can tell them apart.
    """

    def __init__(
        self,
        pages: tuple[Page, ...],
        entry: Entry,
        feed: Feed,
        hosts: KnownHosts,
        templates: Environment,
        version: str,
        *,
        secure: bool,
        box: str = "",
    ) -> None:
        self._pages = {page.name: page for page in pages}
        self._entry = entry
        self._feed = feed
        self._hosts = hosts
        self._templates = templates
        self._version = version
        self._secure = secure
        self._box = box
        self._files = {name: _file(name, kind) for name, kind in _FILES.items()}

    def routes(self) -> list[Route]:
        """The routes, for the door that has pages behind it."""
        return [
            Route("GET", "/", self._guarded(self._page)),
            Route("GET", _LOGIN, self._guarded(self._login_page)),
            Route("POST", _LOGIN, self._guarded(self._log_in)),
            Route("POST", "/console/logout", self._guarded(self._log_out)),
            Route("POST", "/console/theme", self._guarded(self._theme)),
            Route("GET", "/console/feed/{id}", self._guarded(self._live)),
            Route("GET", "/console/static/{id}", self._static),
            Route("GET", "/console/{id}", self._guarded(self._page)),
            Route("POST", "/console/{id}", self._guarded(self._order)),
        ]

    # What stands before every page:

    def _guarded(self, handler: Handler) -> Handler:
        """A foreign host and an error are answered with a page that a person can read."""

        async def guarded(request: Request, argument: str) -> Reply:
            try:
                self._hosts.check(request.header("host"))
                return await handler(request, argument)
            except GatewayError as error:
                values = {"message": error.message, "code": error.code, "status": error.row.status}
                return self._html(request, "error.html", values, None, status=error.row.status)

        return guarded

    def _session_of(self, request: Request) -> Asked | None:
        token = cookie_of(request, SESSION)
        session = self._entry.session(token)
        if session is None:
            return None
        query = dict(parse_qsl(request.query, keep_blank_values=True))
        return Asked(request, session, query, welcome=lambda: self._entry.session(token) is not None)

    # Pages:

    async def _page(self, request: Request, path: str) -> Reply:
        name, _, stream = path.partition("/")
        page = self._find(name or "now")
        asked = self._session_of(request)
        if asked is None:
            return _elsewhere(f"{_LOGIN}?to={page.name}")
        if stream:
            return await self._stream(page, stream, asked)
        return await self._shown(page, asked, {})

    def _find(self, name: str) -> Page:
        page = self._pages.get(name)
        if page is None:
            raise GatewayError("unknown_url", f"The console has no page {name[:60]!r}.")
        return page

    async def _shown(self, page: Page, asked: Asked, more: Values, status: int = 200) -> Reply:
        values = {**page.live(), **await page.values(asked), **more}
        return self._html(asked.request, f"{page.name}.html", values, asked, page=page, status=status)

    async def _stream(self, page: Page, name: str, asked: Asked) -> Reply:
        stream = page.streams.get(name)
        if stream is None:
            raise GatewayError("unknown_url", f"The page {page.name!r} has no {name[:60]!r}.")
        return await stream(asked)

    async def _live(self, request: Request, name: str) -> Reply:
        asked = self._session_of(request)
        if asked is None:
            return Reply(401, [("content-type", "text/plain"), *PROTECTED], b"Log in again.")
        return self._feed.watch(name, asked.welcome)

    async def _order(self, request: Request, path: str) -> Reply:
        name, _, action = path.partition("/")
        page, asked = self._find(name), self._session_of(request)
        check_origin(request)
        if asked is None:
            return _elsewhere(f"{_LOGIN}?to={page.name}")
        body = await request.body.read(_LARGEST)
        form = _form(request, body)
        check_token(asked.session.csrf, form.pop("token", "") or request.header("x-console-token") or "")
        order = page.actions.get(action)
        if order is None:
            raise GatewayError("unknown_url", f"Nothing called {action[:60]!r} can be ordered on {page.title}.")
        try:
            outcome = await order(replace(asked, form=form, body=body))
        except (GatewayError, OperatorError) as error:
            outcome = Done(error.message if isinstance(error, GatewayError) else sentence(str(error)), ok=False)
        if isinstance(outcome, Shown):
            return await self._shown(page, asked, outcome.values, outcome.status)
        if isinstance(outcome, Reply):
            return outcome
        asked.session.say(outcome.message, ok=outcome.ok)
        return _elsewhere(outcome.to or page.address)

    # In and out:

    async def _login_page(self, request: Request, _: str) -> Reply:
        wanted = dict(parse_qsl(request.query)).get("to", "now")
        return self._ask(request, wanted, "")

    def _ask(self, request: Request, wanted: str, problem: str, status: int = 200) -> Reply:
        knock = self._entry.sessions.new_token()
        values = {"wanted": wanted if wanted in self._pages else "now", "problem": problem, "knock": knock}
        reply = self._html(request, "login.html", values, None, status=status)
        reply.headers.append(cookie(KNOCK, knock, secure=self._secure, lasts=3600))
        return reply

    async def _log_in(self, request: Request, _: str) -> Reply:
        check_origin(request)
        form = _form(request, await request.body.read(_LARGEST))
        wanted = form.get("to", "now")
        if not form.get("knock") or form["knock"] != cookie_of(request, KNOCK):
            return self._ask(request, wanted, "This page had lain open for long. Try again.", 403)
        try:
            token = await self._entry.log_in(form.get("key", ""), request)
        except GatewayError as error:
            return self._ask(request, wanted, error.message, error.row.status)
        reply = _elsewhere(self._pages[wanted].address if wanted in self._pages else "/")
        reply.headers.append(cookie(SESSION, token, secure=self._secure, lasts=int(LONGEST)))
        reply.headers.append(cookie(KNOCK, "", secure=self._secure, lasts=0))
        return reply

    async def _log_out(self, request: Request, _: str) -> Reply:
        check_origin(request)
        asked = self._session_of(request)
        if asked is not None:
            check_token(asked.session.csrf, (_form(request, await request.body.read(_LARGEST))).get("token", ""))
            self._entry.sessions.end(cookie_of(request, SESSION))
        reply = _elsewhere(_LOGIN)
        reply.headers.append(cookie(SESSION, "", secure=self._secure, lasts=0))
        return reply

    async def _theme(self, request: Request, _: str) -> Reply:
        """Light or dark; asks for no token, since nothing depends on it."""
        check_origin(request)
        form = _form(request, await request.body.read(_LARGEST))
        page = self._pages.get(form.get("to", ""))
        reply = _elsewhere(page.address if page else "/")
        theme = form.get("theme", "")
        lasts = 365 * 86400 if theme in _THEMES else 0
        reply.headers.append(cookie(THEME, theme if lasts else "", secure=self._secure, lasts=lasts, readable=True))
        return reply

    # What they are made of:

    def _html(
        self,
        request: Request,
        template: str,
        values: Values,
        asked: Asked | None,
        *,
        page: Page | None = None,
        status: int = 200,
    ) -> Reply:
        theme = cookie_of(request, THEME)
        session = asked.session if asked else None
        frame: dict[str, Any] = {
            "pages": [one for one in self._pages.values() if one.listed] if session else [],
            "page": page,
            "session": session,
            "messages": session.told() if session else [],
            "theme": theme if theme in _THEMES else "",
            "version": self._version,
            "box": self._box if session else "",
            "files": {name: digest for name, (digest, _) in self._files.items()},
        }
        context = {**values, **frame}

        def live(part: str) -> Markup:
            html = self._templates.get_template(f"parts/{part}.html").render(values)
            return Markup('<div data-live="{}">{}</div>').format(part, Markup(html))  # noqa: S704 - a template's output

        def token() -> Markup:
            text = session.csrf if session else ""
            return Markup('<input type="hidden" name="token" value="{}">').format(text)

        html = self._templates.get_template(template).render(context, live=live, token=token)
        return Reply(status, list(_DYNAMIC), html.encode())

    async def _static(self, request: Request, name: str) -> Reply:
        found = self._files.get(name)
        if found is None:
            raise GatewayError("unknown_url", f"There is no {request.path[:100]!r}.")
        digest, reply = found
        if request.header("if-none-match") == f'"{digest}"':
            return Reply(304, [("etag", f'"{digest}"'), *PROTECTED])
        return Reply(200, list(reply.headers), reply.body)


def _file(name: str, kind: str) -> tuple[str, Reply]:
    body = read("static", name).encode()
    digest = hashlib.sha256(body).hexdigest()[:12]
    headers = [("content-type", f"{kind}; charset=utf-8"), ("etag", f'"{digest}"'), ("cache-control", "no-cache")]
    return digest, Reply(200, [*headers, *PROTECTED], body)


def _form(request: Request, body: bytes) -> dict[str, str]:
    """The members of a form that was sent as such; of several with one name the last."""
    if (request.header("content-type") or "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        return {}
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=1000))
    except ValueError as error:
        raise GatewayError("invalid_payload", "The form cannot be read.") from error


def _elsewhere(address: str) -> Reply:
    return Reply(303, [("location", address), ("cache-control", "no-store"), *PROTECTED])
