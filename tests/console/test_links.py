import json

import pytest

from appliance.access.keys import KeyRing
from appliance.console.links import LinkRoutes
from appliance.domain.http import Request
from appliance.errors import GatewayError
from appliance.ops.gate import Gate
from tests.fakes.consoles import ADMIN, USER, Body, Desk, header, key, text
from tests.fakes.journal import journal


def routes(desk: Desk, ring: KeyRing | None) -> LinkRoutes:
    return LinkRoutes(Gate(ring, journal()), desk.sessions, desk.clock, "http://box:8000")


def request(key_: str = "") -> Request:
    return Request("POST", "/ops/v1/console/link", "", [("authorization", f"Bearer {key_}")], "", Body(b""))


async def test_the_code_of_a_link_is_behind_the_hash_and_opens_the_console() -> None:
    desk = Desk()
    (route,) = routes(desk, None).routes()
    reply = await route.endpoint(request(), "")
    told = json.loads(text(reply))
    assert header(reply, "cache-control") == "no-store"
    assert (told["url"], told["path"]) == ("http://box:8000", f"/console/login#{told['code']}")
    assert desk.sessions.use_link(told["code"], desk.clock.now) == "ops.sock"


async def test_over_the_network_it_takes_an_admin() -> None:
    desk = Desk()
    ring = KeyRing([key("root", ADMIN, "admin"), key("alice", USER, "infer")], date=lambda: 0.0)
    (route,) = routes(desk, ring).routes()
    assert (await route.endpoint(request(ADMIN), "")).status == 200
    with pytest.raises(GatewayError, match="admin"):
        await route.endpoint(request(USER), "")
