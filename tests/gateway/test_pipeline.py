import json

import pytest
import trio
import trio.testing

from appliance.config.schema import Model, Runtime
from appliance.errors import GatewayError
from appliance.guardrails.rules import Guardrails
from appliance.routing.clouds import Clouds
from tests.fakes.accounts import text_of
from tests.fakes.path import Path, header
from tests.fakes.runtime import FakeRuntime
from tests.fakes.upstream_reply import ScriptedReply
from tests.fakes.upstreams import ScriptedUpstreams

JSON = [("content-type", "application/json")]
CHAT = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,"custom":{"b": 1,"a":2}}'
CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7}}\n\n'
DONE = b"data: [DONE]\n\n"


class Mute(ScriptedReply):
    """Headers at once, and then nothing."""

    async def receive(self) -> bytes:
        return await self.silence()


async def test_a_stream_carries_the_headers_that_proxies_need_and_is_settled_at_its_end() -> None:
    path = Path(ScriptedUpstreams(ScriptedReply(CHUNK, USAGE, DONE)))
    reply = await path.ask("POST", "/v1/chat/completions", CHAT)
    assert not isinstance(reply.body, bytes)
    assert b"".join([part async for part in reply.body]) == CHUNK + DONE
    await reply.body.aclose()
    assert header(reply, "cache-control") == "no-cache"
    assert header(reply, "x-accel-buffering") == "no"
    assert header(reply, "x-gateway-model") == "m"
    assert header(reply, "x-gateway-replica") == "m"
    assert not path.runtime.held
    text = text_of(path.metrics)
    assert 'appliance_tokens_total{model="m",type="output"} 7.0' in text
    assert 'appliance_requests_in_flight{model="m"} 0.0' in text
    assert not path.gateway._relays


async def test_unknown_members_of_the_body_pass_untouched() -> None:
    path = Path(ScriptedUpstreams(ScriptedReply(CHUNK, DONE)))
    reply = await path.ask("POST", "/v1/chat/completions", CHAT)
    assert not isinstance(reply.body, bytes)
    await reply.body.aclose()
    sent = path.upstreams.asked[0][1].body
    assert b'{"b": 1,"a":2}' in sent
    assert json.loads(sent)["stream_options"] == {"include_usage": True}


async def test_a_whole_reply_has_its_usage_counted_and_the_request_id_added() -> None:
    whole = b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}'
    path = Path(ScriptedUpstreams(ScriptedReply(whole, headers=JSON)))
    reply = await path.ask("POST", "/v1/chat/completions", CHAT.replace(b"true", b"false"))
    assert isinstance(reply.body, bytes)
    assert json.loads(reply.body)["request_id"] == header(reply, "x-request-id")
    assert 'type="input"} 3.0' in text_of(path.metrics)


async def test_an_engines_error_is_marked_as_its_own_and_its_500_not_to_be_retried() -> None:
    path = Path(ScriptedUpstreams(ScriptedReply(b'{"error":"x"}', status=500, headers=JSON)))
    reply = await path.ask("POST", "/v1/chat/completions", CHAT)
    assert (reply.status, reply.body) == (500, b'{"error":"x"}')
    assert header(reply, "x-error-source") == "backend"
    assert header(reply, "x-should-retry") == "false"


async def test_a_model_with_overrides_has_them_in_every_request() -> None:
    path = Path(ScriptedUpstreams(ScriptedReply(CHUNK, DONE)))
    model = Model(name="m", targets=("m",), kind="chat", forced={"seed": 7})
    path.gateway.change(
        [model], [Runtime(name="m", engine="llama.cpp", model="/m.gguf")], [], Clouds(), Guardrails(), {}
    )
    reply = await path.ask("POST", "/v1/chat/completions", CHAT)
    assert not isinstance(reply.body, bytes)
    await reply.body.aclose()
    assert json.loads(path.upstreams.asked[0][1].body)["seed"] == 7


async def test_a_draining_gateway_takes_no_new_work() -> None:
    path = Path()
    path.gateway.draining = True
    reply = await path.ask("POST", "/v1/chat/completions", CHAT)
    assert reply.status == 503
    assert header(reply, "retry-after")


async def test_a_loading_model_is_told_with_state_and_reason() -> None:
    refusal = GatewayError("model_loading", "still loading", retry_after=7, extras={"state": "loading", "reason": "x"})
    reply = await Path(runtime=FakeRuntime(refusal)).ask("POST", "/v1/chat/completions", CHAT)
    assert isinstance(reply.body, bytes)
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["state"], error["reason"]) == (503, "loading", "x")
    assert header(reply, "retry-after") == "7"


@pytest.mark.parametrize("stream", [b"true", b"false"])
async def test_a_client_that_leaves_while_the_engine_thinks_is_settled(stream: bytes) -> None:
    mute = Mute(headers=None if stream == b"true" else JSON)
    path = Path(ScriptedUpstreams(mute))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(path.ask, "POST", "/v1/chat/completions", CHAT.replace(b"true", stream))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert mute.closed
    text = text_of(path.metrics)
    assert 'appliance_client_disconnects_total{model="m",phase="first_byte"} 1.0' in text
    assert 'appliance_requests_in_flight{model="m"} 0.0' in text
    assert not path.gateway._relays


async def test_a_bug_is_an_answer_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    path = Path(ScriptedUpstreams(ZeroDivisionError("secret detail")))
    reply = await path.ask("POST", "/v1/chat/completions", CHAT)
    assert isinstance(reply.body, bytes)
    assert (reply.status, b"secret" in reply.body) == (500, False)
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(("body", "code"), [(b"", "empty_response"), (b'{"choices":[{"mess', "stream_truncated")])
async def test_half_an_answer_never_looks_like_success(body: bytes, code: str) -> None:
    path = Path(ScriptedUpstreams(ScriptedReply(body, headers=JSON)))
    reply = await path.ask("POST", "/v1/chat/completions", CHAT)
    assert isinstance(reply.body, bytes)
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (502, code)


@pytest.mark.parametrize("stream", [False, True])
async def test_what_an_engine_leaves_out_of_a_response_is_filled_in(stream: bool) -> None:
    whole = b'{"id":"r","status":"completed","model":"own"}'
    event = b'event: response.completed\ndata: {"type":"response.completed","response":' + whole + b"}\n\n"
    path = Path(ScriptedUpstreams(ScriptedReply(event) if stream else ScriptedReply(whole, headers=JSON)))
    reply = await path.ask(
        "POST", "/v1/responses", json.dumps({"model": "m", "input": "hi", "stream": stream}).encode()
    )
    body = reply.body
    if not isinstance(body, bytes):
        body = b"".join([piece async for piece in body]).partition(b"data: ")[2]
    told = json.loads(body)
    response = told["response"] if stream else told
    assert (response["model"], response["created_at"], response["output"]) == ("own", 7, [])


async def test_a_stream_that_has_not_begun_is_told_when_the_server_goes_away() -> None:
    path = Path(ScriptedUpstreams(Mute()))
    replies = []

    async def ask() -> None:
        replies.append(await path.ask("POST", "/v1/chat/completions", CHAT))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        path.gateway.interrupt(GatewayError("draining", "going away", retry_after=1))
    assert [reply.status for reply in replies] == [503]
    assert 'appliance_requests_in_flight{model="m"} 0.0' in text_of(path.metrics)


async def test_a_call_that_its_door_ends_because_the_server_goes_away_is_no_client_that_left() -> None:
    path = Path(ScriptedUpstreams(Mute(headers=JSON)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(path.ask, "POST", "/v1/chat/completions", CHAT.replace(b"true", b"false"))
        await trio.testing.wait_all_tasks_blocked()
        path.gateway.interrupt(GatewayError("draining", "going away", retry_after=1))
        nursery.cancel_scope.cancel()
    assert [record.error_code for record in path.records] == ["draining"]
    assert 'appliance_requests_in_flight{model="m"} 0.0' in text_of(path.metrics)


async def test_a_cancellation_that_leaves_in_a_group_settles_the_account_too() -> None:
    class Grouped(ScriptedReply):
        async def receive(self) -> bytes:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
            raise AssertionError

    path = Path(ScriptedUpstreams(Grouped()))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(path.ask, "POST", "/v1/chat/completions", CHAT)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    text = text_of(path.metrics)
    assert 'appliance_requests_total{code="499"' in text
    assert 'appliance_requests_in_flight{model="m"} 0.0' in text


BYOK = [("x-byok-provider", "openai"), ("x-byok-api-key", "sk-own-canary")]


async def test_a_request_with_its_callers_own_key_goes_to_that_provider_and_is_accounted() -> None:
    answer = b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}'
    path = Path(ScriptedUpstreams(ScriptedReply(answer, headers=JSON)))
    reply = await path.ask("POST", "/v1/chat/completions", CHAT, headers=BYOK)
    assert reply.status == 200
    endpoint, request = path.upstreams.asked[0]
    assert endpoint.address.host == "api.openai.com"
    assert ("authorization", "Bearer sk-own-canary") in request.headers
    (record,) = path.records
    assert (record.model, record.target, record.usage.output) == ("byok/openai", "openai", 4)
    assert "canary" not in repr(record) + repr(reply.headers) + text_of(path.metrics)


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ([("x-byok-provider", "gemini"), BYOK[1]], CHAT, 400, "invalid_byok_provider"),
        ([BYOK[1]], CHAT, 400, "invalid_byok_provider"),
        ([BYOK[0]], CHAT, 400, "missing_byok_key"),
    ],
)
async def test_a_request_for_a_provider_that_cannot_be_asked_goes_nowhere(
    headers: list[tuple[str, str]], body: bytes, status: int, code: str
) -> None:
    path = Path()
    reply = await path.ask("POST", "/v1/chat/completions", body, headers=headers)
    assert isinstance(reply.body, bytes)
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (status, code)
    assert path.upstreams.asked == []
