from appliance.access.keys import KeyRing
from appliance.console.pages import Asked
from appliance.console.talking import NAME, Playground, own_credential
from appliance.domain.http import Reply, Request
from appliance.domain.secret import Secret
from tests.console.test_errands import asked as somebody

KEY = Secret("own-key-of-the-console")


async def test_a_chat_goes_the_way_of_all_requests_with_a_key_that_stays_here() -> None:
    seen: list[Request] = []

    async def ask(request: Request) -> Reply:
        seen.append(request)
        return Reply(200, [("content-type", "text/event-stream"), ("x-gateway-target", "m"), ("x-other", "1")], b"data")

    play = Playground(ask, KEY, lambda: {"models": []}, list, str)
    person = somebody()
    person.request.headers += [("cookie", "appliance-session=x"), ("host", "box"), ("authorization", "Bearer evil")]
    reply = await play.chat(Asked(person.request, person.session, body=b"{}"))
    (request,) = seen
    assert (request.method, request.path, await request.body.read(10)) == ("POST", "/v1/chat/completions", b"{}")
    assert request.headers == [("host", "box"), ("authorization", f"Bearer {KEY.reveal}")]
    assert [name for name, _ in reply.headers] == ["content-type", "x-gateway-target", "x-content-type-options"]
    person.request.headers.clear()
    assert (await play.page(person))["models"] == []


def test_its_key_opens_the_api_and_nothing_else_whatever_is_configured() -> None:
    ring = KeyRing((), date=lambda: 0.0, own=[own_credential(KEY)])
    ring.change([], [Secret("another")])
    caller = ring.find([("authorization", f"Bearer {KEY.reveal}")])
    assert (caller.name, sorted(caller.scopes)) == (NAME, ["infer"])
