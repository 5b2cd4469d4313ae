import re

import pytest

from appliance.access.pace import BURST
from appliance.console.feed import EventStream
from appliance.console.pages import Action, Asked, Done, Page, Shown
from appliance.domain.http import Reply
from appliance.errors import GatewayError, OperatorError
from tests.fakes.consoles import ADMIN, USER, Desk, cookies, header, text

ORIGIN = [("origin", "http://127.0.0.1:8000"), ("sec-fetch-site", "same-origin")]


class Given:
    """What was ordered."""

    def __init__(self) -> None:
        self.orders: list[dict[str, str]] = []

    async def good(self, asked: Asked) -> Done:
        self.orders.append(dict(asked.form))
        return Done("It is done <b>.")

    async def bad(self, _: Asked) -> Done:
        raise GatewayError("model_not_found", "There is no such thing.")

    async def worse(self, _: Asked) -> Done:
        raise OperatorError("the file is broken")

    async def shown(self, _: Asked) -> Shown:
        return Shown({"message": "as it was"}, 422)

    async def stream(self, _: Asked) -> Reply:
        return Reply(200, [], b"streamed")

    def page(self) -> Page:
        actions: dict[str, Action] = {"good": self.good, "bad": self.bad, "worse": self.worse, "shown": self.shown}
        return Page("error", "Try", self.values, actions, streams={"more": self.stream})

    async def values(self, asked: Asked) -> dict[str, object]:
        return {"message": asked.query.get("q", ""), "code": "", "status": ""}


async def test_whoever_is_not_logged_in_sees_the_way_in_and_nothing_else() -> None:
    desk = Desk()
    for path in ("/", "/console/now"):
        reply = await desk.ask("GET", path)
        assert (reply.status, header(reply, "location")) == (303, "/console/login?to=now")
    assert (await desk.ask("GET", "/console/feed/now")).status == 401
    assert (await desk.ask("POST", "/console/now/load", {"name": "m"})).status == 303
    assert "Now" not in text(await desk.ask("GET", "/console/login"))


async def test_in_and_out() -> None:
    desk = Desk(Given().page())
    reply = await desk.log_in(to="error", headers=ORIGIN)
    assert (reply.status, header(reply, "location")) == (303, "/console/error")
    (session,) = [cookie for cookie in cookies(reply) if cookie.startswith("appliance-session")]
    assert session.endswith("; Path=/; SameSite=Strict; HttpOnly; Max-Age=43200")
    page = await desk.ask("GET", "/")
    assert page.status == 200
    assert "root" in text(page)
    assert (await desk.order("/console/logout", ORIGIN)).status == 303
    assert "appliance-session" not in desk.cookies
    assert (await desk.ask("GET", "/")).status == 303


async def test_over_tls_cookies_are_for_tls_alone() -> None:
    assert all("; Secure" in cookie for cookie in cookies(await Desk(secure=True).log_in()))


async def test_after_logging_in_one_is_sent_to_pages_of_ours_only() -> None:
    for wanted in ("//evil.example", "https://evil.example", "none"):
        assert header(await Desk().log_in(to=wanted), "location") == "/"


async def test_who_has_no_key_is_told_so_and_guessing_is_slow() -> None:
    desk = Desk()
    for _ in range(BURST + 1):
        reply = await desk.log_in("<guess>")
    assert reply.status == 401
    assert "no key of this server" in text(reply)
    assert "guess" not in text(reply)
    assert desk.waited[-1] > 0
    assert (await desk.log_in(USER)).status == 403


async def test_a_login_that_another_page_made_is_none() -> None:
    desk = Desk()
    assert (await desk.ask("POST", "/console/login", {"key": ADMIN, "knock": "x"})).status == 403
    assert (await desk.ask("POST", "/console/login", {"key": ADMIN, "knock": ""})).status == 403
    assert (await desk.log_in(headers=[("origin", "http://evil.example")])).status == 403
    assert "appliance-session" not in desk.cookies


async def test_an_order_is_carried_out_and_its_answer_told_once() -> None:
    given = Given()
    desk = Desk(given.page())
    await desk.log_in()
    reply = await desk.order("/console/error/good", ORIGIN, name="m", empty="")
    assert (reply.status, header(reply, "location")) == (303, "/console/error")
    assert given.orders == [{"name": "m", "empty": ""}]
    assert "It is done &lt;b&gt;." in text(await desk.ask("GET", "/console/error"))
    assert "It is done" not in text(await desk.ask("GET", "/console/error"))


@pytest.mark.parametrize(("order", "words"), [("bad", "There is no such thing."), ("worse", "The file is broken.")])
async def test_a_refusal_is_told_on_the_page(order: str, words: str) -> None:
    desk = Desk(Given().page())
    await desk.log_in()
    assert (await desk.order(f"/console/error/{order}")).status == 303
    assert words in text(await desk.ask("GET", "/console/error"))


async def test_an_orders_answer_may_be_the_page_itself() -> None:
    desk = Desk(Given().page())
    await desk.log_in()
    reply = await desk.order("/console/error/shown")
    assert (reply.status, "as it was" in text(reply)) == (422, True)


async def test_an_order_without_its_token_or_from_elsewhere_is_not_carried_out() -> None:
    given = Given()
    desk = Desk(given.page())
    await desk.log_in()
    assert (await desk.ask("POST", "/console/error/good", {"name": "m"})).status == 403
    assert (await desk.ask("POST", "/console/error/good", {"token": "guess"})).status == 403
    assert (await desk.order("/console/error/good", [("origin", "http://evil.example")])).status == 403
    assert (await desk.order("/console/error/good", [("sec-fetch-site", "cross-site")])).status == 403
    assert (await desk.ask("POST", "/console/logout", {"token": "guess"})).status == 403
    assert (await desk.ask("POST", "/console/theme", {"theme": "dark"}, [("origin", "null")])).status == 403
    assert given.orders == []


async def test_a_token_may_come_as_a_header_which_no_form_can_send() -> None:
    given = Given()
    desk = Desk(given.page())
    await desk.log_in()
    session = desk.entry.session(desk.cookies["appliance-session"])
    assert session is not None
    reply = await desk.ask("POST", "/console/error/good", headers=[("x-console-token", session.csrf)])
    assert reply.status == 303
    assert given.orders == [{}]


async def test_what_is_not_there_is_a_page_too() -> None:
    desk = Desk(Given().page())
    await desk.log_in()
    for path in ("/console/none", "/console/error/none"):
        reply = await desk.ask("GET", path)
        assert reply.status == 404
        assert "<h1>That did not work" in text(reply)
    assert (await desk.order("/console/error/none")).status == 404
    assert text(await desk.ask("GET", "/console/error/more")) == "streamed"


async def test_a_foreign_host_gets_nothing() -> None:
    assert (await Desk(host="evil.example").ask("GET", "/")).status == 421


async def test_every_page_is_protected_and_kept_nowhere() -> None:
    desk = Desk()
    replies = [await desk.ask("GET", "/console/login"), await desk.log_in(), await desk.ask("GET", "/")]
    for reply in replies:
        assert header(reply, "content-security-policy").startswith("default-src 'none'")
        assert header(reply, "cache-control") == "no-store"
        assert header(reply, "x-content-type-options") == "nosniff"
    for page in (text(replies[0]), text(replies[2])):
        assert ADMIN not in page
        assert desk.cookies["appliance-session"] not in page
        assert not re.search(r"<script(?! src)|<style|\sstyle=|\son\w+=", page)


async def test_style_and_script_are_files_that_browsers_may_keep() -> None:
    desk = Desk()
    for name in re.findall(r'"(/console/static/[^"?]+)', text(await desk.ask("GET", "/console/login"))):
        reply = await desk.ask("GET", name)
        assert (reply.status, bool(reply.body)) == (200, True)
        again = await desk.ask("GET", name, headers=[("if-none-match", header(reply, "etag"))])
        assert (again.status, again.body) == (304, b"")
    with pytest.raises(GatewayError):
        await desk.ask("GET", "/console/static/none.css")


async def test_the_colours_are_remembered_and_need_no_script() -> None:
    desk = Desk()
    await desk.log_in()
    reply = await desk.ask("POST", "/console/theme", {"theme": "dark", "to": "now"}, ORIGIN)
    assert (reply.status, header(reply, "location")) == (303, "/")
    assert '<html lang="en" data-theme="dark">' in text(await desk.ask("GET", "/"))
    await desk.ask("POST", "/console/theme", {"theme": ""})
    assert '<html lang="en">' in text(await desk.ask("GET", "/"))
    desk.cookies["appliance-theme"] = "<script>"
    assert '<html lang="en">' in text(await desk.ask("GET", "/"))


async def test_a_live_page_is_followed_until_one_logs_out() -> None:
    desk = Desk()
    await desk.log_in()
    reply = await desk.ask("GET", "/console/feed/now")
    assert header(reply, "content-type") == "text/event-stream"
    assert isinstance(reply.body, EventStream)
    assert await reply.body.__anext__() == b"retry: 2000\n\n"
    assert desk.feed.viewers == 1
    reply.body.close()
    assert (await desk.ask("GET", "/console/feed/none")).status == 404
