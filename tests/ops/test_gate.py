import hashlib
import logging

import pytest

from appliance.access.keys import KeyRing
from appliance.config.schema import Key
from appliance.domain.events import Wanted
from appliance.domain.http import Headers, Request
from appliance.errors import GatewayError
from appliance.ops.gate import Gate
from tests.fakes.journal import journal
from tests.fakes.path import Bytes

HASH = hashlib.sha256(b"k-1").hexdigest()
ROOT = Key(name="root", hash=f"sha256:{HASH}", scopes=("admin",))
TEAM = Key(name="team", hash=f"sha256:{hashlib.sha256(b'k-2').hexdigest()}")
GATE = Gate(KeyRing((ROOT, TEAM), date=lambda: 0.0), journal())


def request(*headers: tuple[str, str]) -> Request:
    sent: Headers = list(headers)
    return Request("POST", "/ops/v1/x", "", sent, "10.0.0.9", Bytes(b""))


def test_an_administrator_is_known_by_name() -> None:
    assert GATE.admit(request(("x-api-key", "k-1"))) == "root"


@pytest.mark.parametrize(("key", "code"), [("k-2", "scope_missing"), ("k-3", "invalid_api_key")])
def test_nobody_else_gets_through(key: str, code: str) -> None:
    with pytest.raises(GatewayError, match=code):
        GATE.admit(request(("x-api-key", key)))


def test_on_the_socket_whoever_comes_may() -> None:
    assert Gate(None, journal()).admit(request()) == "ops.sock"


async def test_the_line_and_the_event_say_who_did_what_and_what_became_of_it(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate(None, journal())
    with caplog.at_level(logging.INFO, "appliance.audit"):
        gate.audit("keys revoke", "ci", "root", request(("x-api-key", "k-1")), ok=False, detail="there is none")
    (record,) = caplog.records
    assert record.__dict__["fields"] == {
        "action": "keys revoke",
        "target": "ci",
        "by": "root",
        "peer": "10.0.0.9",
        "ok": False,
        "detail": "there is none",
    }
    (event,) = await gate.journal.newest(Wanted(), 9)
    assert (event.kind, event.subject) == ("admin.action", "ci")
    assert event.words == "root ordered: keys revoke ci. Not done: there is none."
    assert event.facts == {"action": "keys revoke", "by": "root", "peer": "10.0.0.9", "ok": False}


async def test_an_order_to_all_of_the_appliance_is_about_the_appliance() -> None:
    gate = Gate(None, journal())
    gate.audit("reload", "", "ops.sock", request(), ok=True)
    (event,) = await gate.journal.newest(Wanted(), 9)
    assert (event.subject, event.words) == ("appliance", "ops.sock ordered: reload. Done.")
