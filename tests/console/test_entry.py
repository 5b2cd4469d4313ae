import pytest

from appliance.access.pace import BURST
from appliance.console.entry import BY_LINK
from appliance.domain.http import Request
from appliance.errors import GatewayError
from tests.fakes.consoles import ADMIN, USER, Body, Desk

REQUEST = Request("POST", "/console/login", "", [], "10.0.0.9", Body(b""))


async def test_a_key_with_the_scope_admin_comes_in() -> None:
    desk = Desk()
    session = desk.entry.session(await desk.entry.log_in(f" {ADMIN}\n", REQUEST))
    assert session is not None
    assert session.name == "root"


async def test_a_link_comes_in_once() -> None:
    desk = Desk()
    code = desk.sessions.new_link("ops.sock", desk.clock.now)
    session = desk.entry.session(await desk.entry.log_in(code, REQUEST))
    assert session is not None
    assert session.name == BY_LINK
    with pytest.raises(GatewayError, match="Links work once"):
        await desk.entry.log_in(code, REQUEST)


async def test_others_are_told_why_not() -> None:
    desk = Desk()
    with pytest.raises(GatewayError) as refused:
        await desk.entry.log_in(USER, REQUEST)
    assert refused.value.code == "scope_missing"
    with pytest.raises(GatewayError) as refused:
        await desk.entry.log_in("sk-wrong", REQUEST)
    assert refused.value.code == "invalid_api_key"
    assert "sk-wrong" not in refused.value.message


async def test_who_tries_again_and_again_waits() -> None:
    desk = Desk()
    for _ in range(BURST + 3):
        with pytest.raises(GatewayError):
            await desk.entry.log_in("guess", REQUEST)
    assert desk.waited[:BURST] == [0.0] * BURST
    assert all(seconds > 0 for seconds in desk.waited[BURST:])


async def test_a_session_ends_with_its_key() -> None:
    desk = Desk()
    token = await desk.entry.log_in(ADMIN, REQUEST)
    assert desk.entry.session(token) is not None
    desk.keys.change([])
    assert desk.entry.session(token) is None
    assert desk.entry.session("") is None
