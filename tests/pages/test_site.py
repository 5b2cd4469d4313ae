import json
import re
from html import unescape

import pytest

from appliance.access.hosts import KnownHosts
from appliance.api.routes import Route, Router
from appliance.domain.http import Headers, Reply, Request
from appliance.errors import GatewayError
from appliance.pages.site import ORDER, Site, documents
from tests.fakes.path import Bytes


async def nothing(request: Request, _: str) -> Reply:
    raise AssertionError


def site() -> Router:
    table = [Route("GET", "/healthz", nothing), Route("POST", "/v1/chat/completions", nothing)]
    return Router(Site(lambda: table, "0.1.0", KnownHosts([], "box")).routes())


async def get(path: str, headers: Headers | None = None, router: Router | None = None) -> Reply:
    route, argument = (router or site()).find("GET", path)
    return await route.endpoint(Request("GET", path, "", headers or [], "peer", Bytes(b"")), argument)


@pytest.mark.parametrize("path", ["/docs", "/docs/", "/docs/api", *(f"/docs/{name}" for name in documents())])
async def test_every_page_is_there_and_may_run_nothing(path: str) -> None:
    reply = await get(path)
    assert isinstance(reply.body, bytes)
    headers = dict(reply.headers)
    assert (reply.status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'self';")
    assert b"<script" not in reply.body
    assert reply.body.count(b"<h1") == 1


async def test_every_link_of_every_page_leads_somewhere() -> None:
    router, pages = site(), {}
    for path in ["/docs", "/docs/api", *(f"/docs/{name}" for name in documents())]:
        reply = await get(path, router=router)
        assert isinstance(reply.body, bytes)
        pages[path] = unescape(reply.body.decode())
    for path, html in pages.items():
        for href in re.findall(r'href="([^"]+)"', html):
            address, _, anchor = href.partition("#")
            if address.startswith("http") or address in {"/docs/style.css", "/openapi.json"}:
                continue
            assert not anchor or f'id="{anchor}"' in pages[address or path], f"{path}: {href}"


async def test_the_stylesheet_and_the_description_are_there() -> None:
    style = await get("/docs/style.css")
    assert dict(style.headers)["content-type"].startswith("text/css")
    description = await get("/openapi.json")
    assert isinstance(description.body, bytes)
    assert set(json.loads(description.body)["paths"]) == {"/healthz", "/v1/chat/completions"}


async def test_what_is_not_there_is_an_error_that_says_what_is() -> None:
    with pytest.raises(GatewayError, match="GET /docs lists them") as caught:
        await get("/docs/nothing")
    assert caught.value.code == "unknown_url"


@pytest.mark.parametrize(("host", "ours"), [("box:8000", True), ("127.0.0.1", True), ("evil.example", False)])
async def test_pages_are_given_under_our_own_names_only(host: str, ours: bool) -> None:
    if ours:
        assert (await get("/docs", [("host", host)])).status == 200
    else:
        with pytest.raises(GatewayError) as caught:
            await get("/docs", [("host", host)])
        assert caught.value.code == "misdirected_host"
    assert (await get("/openapi.json", [("host", host)])).status == 200


def test_documents_come_in_the_order_of_reading_and_new_ones_last() -> None:
    assert list(documents())[: len(ORDER)] == list(ORDER)
