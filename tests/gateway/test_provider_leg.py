import json
from typing import Any, cast

import pytest

from appliance.config.schema import Provider
from appliance.domain.calls import Call, Operation
from appliance.domain.http import Headers
from appliance.domain.secret import Secret
from appliance.domain.targets import Target
from appliance.errors import ConnectFailed, GatewayError
from appliance.gateway.engine_reply import EngineReply
from appliance.gateway.provider_leg import ask_provider
from appliance.routing.clouds import Clouds
from appliance.translate.messages_request import parse_messages
from appliance.translate.native_messages import parse_native
from appliance.upstream.deadlines import Deadlines
from appliance.wire.openai_request import parse_call
from tests.fakes.accounts import exchange as opened
from tests.fakes.upstream_reply import ScriptedReply
from tests.fakes.upstreams import ScriptedUpstreams

KEY = Secret("sk-canary-4711")
CLOUDS = Clouds.of(
    [Provider(name="openai"), Provider(name="anthropic"), Provider(name="gemini")], [], {"openai": KEY, "gemini": KEY}
)
JSON: Headers = [("content-type", "application/json"), ("date", "Tue, 14 Nov 2023 22:13:20 GMT")]
HELLO = [{"role": "user", "content": "Hello!"}]


def byok(provider: str, key: Secret = KEY) -> Target:
    cloud = CLOUDS.allowed[provider]
    return Target(provider, "provider", provider, cloud.engine, "m", cloud.endpoint, key, callers=True)


def call(operation: Operation = Operation.CHAT, **members: Any) -> Call:
    text = {Operation.EMBEDDING: {"input": "a"}}.get(operation, {"messages": HELLO})
    body = json.dumps({"model": "m", **text, **members}).encode()
    return parse_messages(body) if operation is Operation.MESSAGES else parse_call(operation, body)


async def ask(
    target: Target, asked: Call, *answers: ScriptedReply | Exception, headers: Headers | None = None
) -> tuple[EngineReply, Any]:
    upstreams = ScriptedUpstreams(*answers)
    account = opened()
    account.dialect_headers = headers or []
    reply = await ask_provider(cast("Any", upstreams), Deadlines(), 8, asked, target, account)
    return reply, upstreams.asked[0]


def answer(body: object, status: int = 200) -> ScriptedReply:
    return ScriptedReply(json.dumps(body).encode(), status=status, headers=JSON)


CASES = [
    ("openai", Operation.CHAT, "api.openai.com", "/v1/chat/completions"),
    ("openai", Operation.MESSAGES, "api.openai.com", "/v1/chat/completions"),
    ("openai", Operation.COMPLETION, "api.openai.com", "/v1/completions"),
    ("openai", Operation.EMBEDDING, "api.openai.com", "/v1/embeddings"),
    ("anthropic", Operation.CHAT, "api.anthropic.com", "/v1/messages"),
    ("anthropic", Operation.MESSAGES, "api.anthropic.com", "/v1/messages"),
    ("gemini", Operation.CHAT, "generativelanguage.googleapis.com", "/v1beta/openai/chat/completions"),
    ("gemini", Operation.MESSAGES, "generativelanguage.googleapis.com", "/v1beta/openai/chat/completions"),
    ("gemini", Operation.EMBEDDING, "generativelanguage.googleapis.com", "/v1beta/openai/embeddings"),
]


@pytest.mark.parametrize(("provider", "operation", "host", "path"), CASES)
async def test_each_operation_goes_where_the_provider_has_it_with_its_key_and_no_more(
    provider: str, operation: Operation, host: str, path: str
) -> None:
    more = {"prompt": "x"} if operation is Operation.COMPLETION else {}
    _, (endpoint, request) = await ask(byok(provider), call(operation, **more), answer({}))
    assert (endpoint.address.scheme, endpoint.address.host, request.path) == ("https", host, path)
    assert json.loads(request.body)["model"] == "m"
    sent = dict(request.headers)
    if provider == "anthropic":
        assert sent.pop("x-api-key") == KEY.reveal
        assert sent.pop("anthropic-version") == "2023-06-01"
    else:
        assert sent.pop("authorization") == f"Bearer {KEY.reveal}"
    assert sent.pop("user-agent").startswith("appliance/")
    assert sent == {"content-type": "application/json"}
    assert request.request_id == ""
    assert KEY.reveal not in repr(endpoint)


async def test_a_clients_version_and_features_of_messages_go_along() -> None:
    headers = [("anthropic-version", "2026-10-21"), ("anthropic-beta", "a"), ("anthropic-beta", "b")]
    native = parse_native(Operation.COUNT_TOKENS, b'{"model":"m","messages":[{"role":"user","content":"x"}]}')
    _, (_, request) = await ask(byok("anthropic"), native, answer({}), headers=headers)
    assert request.path == "/v1/messages/count_tokens"
    assert "max_tokens" not in json.loads(request.body)
    assert [header for header in request.headers if header[0].startswith("anthropic")] == headers


async def test_a_subscriptions_token_is_a_bearer_token() -> None:
    _, (_, request) = await ask(byok("anthropic", Secret("sk-ant-oat01-x")), call(), answer({}))
    sent = dict(request.headers)
    assert sent["authorization"] == "Bearer sk-ant-oat01-x"
    assert sent["anthropic-beta"] == "oauth-2025-04-20"
    assert "x-api-key" not in sent


async def test_openai_answers_pass_as_they_are() -> None:
    scripted = answer({"id": "x"})
    reply, _ = await ask(byok("openai"), call(), scripted)
    assert reply is scripted


async def test_a_message_becomes_a_completion_with_the_providers_date() -> None:
    message = {"id": "msg_1", "model": "claude", "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn"}
    reply, _ = await ask(byok("anthropic"), call(), answer(message))
    completion = json.loads(await reply.read(10_000))
    assert completion["choices"][0]["message"]["content"] == "Hi"
    assert completion["created"] == 1_700_000_000


async def test_geminis_embeddings_are_base64_for_whoever_asked_for_that() -> None:
    asked = call(Operation.EMBEDDING, encoding_format="base64")
    reply, _ = await ask(byok("gemini"), asked, answer({"data": [{"embedding": [1.0]}]}))
    assert json.loads(await reply.read(10_000))["data"][0]["embedding"] == "AACAPw=="


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
@pytest.mark.parametrize("operation", [Operation.CHAT, Operation.MESSAGES])
async def test_an_error_keeps_its_status_and_loses_the_key(provider: str, operation: Operation) -> None:
    said = {"error": {"message": f"bad key {KEY.reveal}", "type": "invalid_request_error", "code": 401}}
    reply, _ = await ask(byok(provider), call(operation), answer(said, status=401))
    body = await reply.read(10_000)
    assert reply.status == 401
    assert b"bad key (your key)" in body
    assert KEY.reveal.encode() not in body


async def test_the_owners_key_when_refused_is_no_fault_of_the_callers() -> None:
    target = CLOUDS.allowed["openai"].target("m")
    scripted = answer({"error": {"message": "Incorrect API key provided: sk-can***4711"}}, status=401)
    with pytest.raises(GatewayError) as caught:
        await ask(target, call(), scripted)
    assert caught.value.code == "provider_key_refused"
    assert "4711" not in str(caught.value)
    assert scripted.closed


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_refused_and_not_followed(status: int) -> None:
    scripted = ScriptedReply(status=status, headers=[("location", "https://evil.example/")])
    with pytest.raises(GatewayError) as caught:
        await ask(byok("openai"), call(), scripted)
    assert caught.value.code == "redirect_refused"
    assert "evil" not in str(caught.value)
    assert scripted.closed


async def test_what_goes_wrong_on_the_way_is_told_as_it_is() -> None:
    with pytest.raises(ConnectFailed):
        await ask(byok("openai"), call(), ConnectFailed("no route"))
