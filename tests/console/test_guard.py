import pytest

from appliance.console.guard import PROTECTED, check_origin, check_token, cookie, cookie_of
from appliance.domain.http import Headers, Request
from appliance.errors import GatewayError
from tests.fakes.consoles import Body


def request(*headers: tuple[str, str]) -> Request:
    return Request("POST", "/console/x", "", [("host", "box:8000"), *headers], "", Body(b""))


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("origin", "http://box:8000")],
        [("origin", "https://BOX:8000"), ("sec-fetch-site", "same-origin")],
        [("sec-fetch-site", "none")],
    ],
)
def test_orders_of_our_own_pages_pass(headers: Headers) -> None:
    check_origin(request(*headers))


@pytest.mark.parametrize(
    "headers",
    [
        [("origin", "null")],
        [("origin", "http://box:8001")],
        [("origin", "http://box.evil:8000")],
        [("origin", "http://[")],
        [("origin", "http://box:8000"), ("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
    ],
)
def test_orders_from_elsewhere_do_not(headers: Headers) -> None:
    with pytest.raises(GatewayError, match="another site"):
        check_origin(request(*headers))


def test_a_token_has_to_be_the_sessions_own() -> None:
    check_token("abc", "abc")
    for expected, given in (("abc", "abd"), ("abc", ""), ("", ""), ("abc", "ä")):
        with pytest.raises(GatewayError, match="older than this session"):
            check_token(expected, given)


def test_cookies_are_for_us_alone() -> None:
    assert cookie("a", "b", secure=True, lasts=5) == (
        "set-cookie",
        "a=b; Path=/; SameSite=Strict; HttpOnly; Secure; Max-Age=5",
    )
    assert cookie("a", "b", secure=False, readable=True) == ("set-cookie", "a=b; Path=/; SameSite=Strict")


@pytest.mark.parametrize(
    ("sent", "value"),
    [
        (["a=1; b=2"], "1"),
        (["b=2", "a=1"], "1"),
        (["a=1; a=1"], "1"),
        (["a=1", "a=2"], ""),  # somebody has slipped another one in
        (["xa=1; {=;; =; a"], ""),
        ([], ""),
    ],
)
def test_a_cookie_that_is_there_twice_is_nobodys(sent: list[str], value: str) -> None:
    assert cookie_of(request(*(("cookie", text) for text in sent)), "a") == value


def test_the_policy_lets_pages_use_their_own_files_only() -> None:
    (policy,) = [value for name, value in PROTECTED if name == "content-security-policy"]
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split("; ")}
    assert rules["default-src"] == ["'none'"]
    assert {source for sources in rules.values() for source in sources} == {"'none'", "'self'"}
    assert rules["frame-ancestors"] == ["'none'"]
