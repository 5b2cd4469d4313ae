"""The page over a real store of keys and a real file of usage, as a browser without scripts has it."""

from pathlib import Path
from typing import Any

import pytest
import trio

from appliance.config.schema import Key
from appliance.console.keys import KeyPages, wanted
from appliance.console.views.forms import FormError
from appliance.keystore.file import KeyFile
from appliance.keystore.keeper import Keeper
from appliance.keystore.stored import Keys, hash_of
from appliance.ops.gate import Gate
from appliance.ops.keys import KeyRoutes
from appliance.ops.usage import UsageRoutes
from tests.fakes.consoles import Desk, text
from tests.fakes.journal import journal


async def desk(tmp_path: Path) -> tuple[Desk, Keeper]:
    async def changed(_: Keys) -> None:
        await trio.lowlevel.checkpoint()

    async def flush() -> bool:
        await trio.lowlevel.checkpoint()
        return True

    keeper = Keeper(KeyFile(tmp_path), (), "sk-", lambda: 0.0, lambda: ("toml",), changed)
    configured = [Key(name="toml", hash="sha256:0")]
    routes = KeyRoutes(Gate(None, journal()), keeper, lambda: configured, lambda: 0.0, asks_for_keys=True)
    here = Desk(KeyPages(routes, UsageRoutes(Gate(None, journal()), tmp_path / "usage", lambda: 0.0, flush)).page())
    await here.log_in()
    return here, keeper


def key_in(page: str) -> str:
    return page.partition('aria-label="The key">')[2].partition("<")[0]


async def test_a_key_is_shown_once_rotated_and_revoked(tmp_path: Path) -> None:
    here, keeper = await desk(tmp_path)
    made = text(await here.order("/console/keys/create", name="a", scope_infer="on", limit_concurrent="4"))
    assert keeper.keys[0].hash == hash_of(key_in(made))
    assert keeper.keys[0].limits is not None
    listed = text(await here.ask("GET", "/console/keys"))
    assert key_in(made) not in listed
    assert "concurrent 4" in listed
    asked = text(await here.order("/console/keys/look", what="rotate", name="a"))
    assert "How long the old one still works" in asked
    rotated = text(await here.order("/console/keys/rotate", name="a", grace="24h"))
    assert keeper.keys[0].hash == hash_of(key_in(rotated)) != hash_of(key_in(made))
    assert "cannot be brought back" in text(await here.order("/console/keys/look", what="revoke", name="a"))
    assert keeper.keys[0].state(0.0) == "active"
    assert (await here.order("/console/keys/revoke", name="a")).status == 303
    assert keeper.keys[0].state(0.0) == "revoked"
    assert "The key a is revoked." in text(await here.ask("GET", "/console/keys"))


async def test_what_cannot_be_is_told_and_what_was_typed_stays(tmp_path: Path) -> None:
    here, keeper = await desk(tmp_path)
    refusals: tuple[tuple[dict[str, Any], int, str], ...] = (
        ({"name": "toml", "scope_infer": "on"}, 409, "toml"),
        ({"name": "b", "limit_concurrent": "x"}, 422, "Write digits"),
        ({"name": "b", "expires": "soon"}, 409, "soon"),
    )
    for form, status, words in refusals:
        reply = await here.order("/console/keys/create", tags="kept, words", **form)
        assert reply.status == status
        assert words in text(reply)
        assert 'value="kept, words"' in text(reply)
    assert keeper.keys == ()
    for path, name in (("look", "toml"), ("revoke", "toml"), ("rotate", "x")):
        assert (await here.order(f"/console/keys/{path}", name=name, what="revoke")).status == 303
    assert "is revoked" not in text(await here.ask("GET", "/console/keys"))


async def test_usage_is_asked_by_the_query(tmp_path: Path) -> None:
    here, _ = await desk(tmp_path)
    assert "Nothing was used in that time." in text(await here.ask("GET", "/console/keys?by=day&since=today"))
    assert "is not one of" in text(await here.ask("GET", "/console/keys?by=colour"))
    assert "is no day" in text(await here.ask("GET", "/console/keys?since=soon"))


def test_a_form_becomes_a_key() -> None:
    found = wanted(
        {"name": " a ", "scope_admin": "on", "models": "x, y*", "tags": "t", "expires": "90d", "local_only": "on"}
    )
    assert (found.name, found.scopes, found.models, found.tags) == ("a", ("admin",), ("x", "y*"), ("t",))
    assert (found.expires, found.local_only, found.limits) == ("90d", True, None)
    assert wanted({"name": "a"}).models == ("*",)
    with pytest.raises(FormError):
        wanted({"name": "a", "limit_concurrent": "x"})
