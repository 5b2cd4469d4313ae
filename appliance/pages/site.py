"""The routes of the documents and of the API's description. Pages are made once, in a thread, when first asked."""

from collections.abc import Callable, Sequence
from importlib.resources import files

import msgspec
import trio

from appliance.access.hosts import KnownHosts
from appliance.api.routes import Route
from appliance.domain.http import Headers, Reply, Request
from appliance.errors import GatewayError
from appliance.pages.frame import STYLE, page
from appliance.pages.markdown import Rendered, escaped, render
from appliance.pages.openapi import openapi
from appliance.pages.reference import reference

# As a reader needs them; what is not named here comes last.
ORDER = (
    *("service", "configuration", "commands", "console", "routes", "messages", "providers", "errors", "connections"),
    *("guardrails", "parameters", "gpus", "metrics"),
)
REFERENCE = "api"
_POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_PAGE: Headers = [
    ("content-security-policy", _POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-cache"),
]
_HTML: Headers = [("content-type", "text/html; charset=utf-8"), *_PAGE]
_CSS: Headers = [("content-type", "text/css; charset=utf-8"), *_PAGE]
_JSON: Headers = [("content-type", "application/json"), ("cache-control", "no-cache")]


def documents() -> dict[str, str]:
    """The documents of this program by name, in the order of reading."""
    folder = files("appliance") / "docs"
    found = {
        entry.name.removesuffix(".md"): entry.read_text("utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith(".md")
    }
    names = [name for name in ORDER if name in found] + sorted(set(found) - set(ORDER))
    return {name: found[name] for name in names}


class Site:
    """What is read, by its path.

    Args:
        table: all routes of the server, these included; asked when the first page is made.
        version: of the program.
        hosts: a page is given to who asks for a name of ours only (a foreign one may be another site's trick).
    """

    def __init__(self, table: Callable[[], Sequence[Route]], version: str, hosts: KnownHosts) -> None:
        self._table = table
        self._version = version
        self._hosts = hosts
        self._texts = documents()  # now: an upgrade may replace our files while we still serve
        self._made: dict[str, tuple[Headers, bytes]] = {}
        self._making = trio.Lock()

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("GET", "/openapi.json", self._openapi),
            Route("GET", "/docs", self._page),
            Route("GET", "/docs/", self._page),
            Route("GET", "/docs/{id}", self._page),
        ]

    async def _openapi(self, _request: Request, _: str) -> Reply:
        headers, body = (await self._all())["/openapi.json"]
        return Reply(200, list(headers), body)

    async def _page(self, request: Request, name: str) -> Reply:
        self._hosts.check(request.header("host"))
        found = (await self._all()).get(f"/docs/{name}".rstrip("/"))
        if found is None:
            raise GatewayError("unknown_url", f"There is no document {name[:100]!r}. GET /docs lists them.")
        headers, body = found
        return Reply(200, list(headers), body)

    async def _all(self) -> dict[str, tuple[Headers, bytes]]:
        if not self._made:
            async with self._making:  # tokens do not wait for this: it takes tenths of a second
                self._made = self._made or await trio.to_thread.run_sync(self._make)
        return self._made

    def _make(self) -> dict[str, tuple[Headers, bytes]]:
        rendered = {name: render(text) for name, text in self._texts.items()}
        description = openapi(self._table(), self._version)
        places = [(f"/docs/{name}", text.title) for name, text in rendered.items()]
        places.append((f"/docs/{REFERENCE}", "API reference"))
        made = {
            "/openapi.json": (_JSON, msgspec.json.encode(description)),
            "/docs/style.css": (_CSS, STYLE.encode()),
            "/docs": (_HTML, page("Documents", _index(rendered), places, "/docs")),
        }
        bodies = {name: (text.title, text.html) for name, text in rendered.items()}
        bodies[REFERENCE] = "API reference", reference(description)
        for name, (title, body) in bodies.items():
            address = f"/docs/{name}"
            made[address] = _HTML, page(title, body, places, address)
        return made


def _index(rendered: dict[str, Rendered]) -> str:
    rows = [
        f'<dt><a href="/docs/{escaped(name)}">{escaped(text.title)}</a></dt><dd>{escaped(text.about)}</dd>'
        for name, text in rendered.items()
    ]
    rows.append(
        f'<dt><a href="/docs/{REFERENCE}">API reference</a></dt><dd>Every route, its fields and its errors.</dd>'
    )
    return f"<h1>Documents</h1><dl>{''.join(rows)}</dl>"
