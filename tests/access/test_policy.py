import pytest

from appliance.access.keys import Caller
from appliance.access.policy import local_without_proxy, may_use, require_scope
from appliance.domain.http import Headers, Request
from appliance.errors import GatewayError


def caller(*models: str) -> Caller:
    return Caller("team", frozenset({"infer"}), models)


class NoBody:
    async def read(self, limit: int) -> bytes:
        return b""


@pytest.mark.parametrize(
    ("pattern", "model", "allowed"),
    [
        ("*", "any", True),
        ("a", "a", True),
        ("a", "ab", False),
        ("a-*", "a-", True),
        ("a-*", "a-b", True),
        ("a-*", "ba-b", False),
        ("*-chat", "x-chat", True),
        ("a*a", "a", False),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a-c-b", False),
        ("a?", "ab", False),
        ("[ab]", "a", False),
        ("[ab]", "[ab]", True),
        ("Org/*", "Org/Model", True),
    ],
)
def test_only_a_star_is_special(pattern: str, model: str, allowed: bool) -> None:
    assert may_use(caller(pattern), model) is allowed


def test_one_pattern_of_several_is_enough_and_none_is_nothing() -> None:
    assert may_use(caller("x", "a*"), "ab")
    assert not may_use(caller(), "ab")


def test_a_missing_scope_is_refused_by_name() -> None:
    require_scope(caller(), "infer")
    with pytest.raises(GatewayError, match="'admin'") as caught:
        require_scope(caller(), "admin")
    assert caught.value.code == "scope_missing"


@pytest.mark.parametrize(
    ("peer", "headers", "local"),
    [
        ("127.0.0.1", [], True),
        ("127.9.9.9", [("user-agent", "x")], True),
        ("::1", [], True),
        ("10.0.0.1", [], False),
        ("", [], False),
        ("localhost", [], False),
        ("127.0.0.1", [("forwarded", "for=1.2.3.4")], False),
        ("127.0.0.1", [("x-forwarded-for", "127.0.0.1")], False),
        ("::1", [("x-forwarded-proto", "https")], False),
    ],
)
def test_local_means_this_machine_and_no_proxy_in_between(peer: str, headers: Headers, local: bool) -> None:
    assert local_without_proxy(Request("GET", "/metrics", "", headers, peer, NoBody())) is local
