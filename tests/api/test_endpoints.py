import json

import pytest

from appliance.errors import GatewayError
from tests.fakes.accounts import text_of
from tests.fakes.path import Path, header
from tests.fakes.upstream_reply import ScriptedReply
from tests.fakes.upstreams import ScriptedUpstreams

JSON = [("content-type", "application/json")]
CHAT = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
OK = b'{"choices":[]}'


@pytest.mark.parametrize("prefix", ["/v1", "/api/client/v1"])
async def test_both_prefixes_serve_the_same(prefix: str) -> None:
    path = Path(ScriptedUpstreams(ScriptedReply(OK, headers=JSON)))
    assert (await path.ask("POST", f"{prefix}/chat/completions", CHAT)).status == 200
    assert (await path.ask("GET", f"{prefix}/models")).status == 200


async def test_without_a_key_the_body_is_not_even_read() -> None:
    class Unread:
        async def read(self, limit: int) -> bytes:
            raise AssertionError("read before authentication")

    from appliance.domain.http import Request

    path = Path()
    reply = await path.dispatch(Request("POST", "/v1/chat/completions", "", [], "", Unread()))
    assert reply.status == 401
    assert header(reply, "www-authenticate") == "Bearer"


@pytest.mark.parametrize(
    ("body", "sent", "expected"),
    [
        (CHAT, None, "req_" + "0" * 32),
        (CHAT, "from-header", "from-header"),
        (CHAT[:-1] + b',"request_id":"from-body"}', "from-header", "from-body"),
        (CHAT, "not valid!", "req_" + "0" * 32),
    ],
)
async def test_the_request_id_is_the_bodys_the_headers_or_ours(body: bytes, sent: str | None, expected: str) -> None:
    path = Path(ScriptedUpstreams(ScriptedReply(OK, headers=JSON)))
    headers = [("x-request-id", sent)] if sent else []
    reply = await path.ask("POST", "/v1/chat/completions", body, headers=headers)
    assert header(reply, "x-request-id") == header(reply, "request-id") == expected
    assert isinstance(reply.body, bytes)
    assert json.loads(reply.body)["request_id"] == expected


async def test_one_model_is_found_by_name_and_an_unknown_one_is_404() -> None:
    path = Path()
    reply = await path.ask("GET", "/v1/models/m")
    assert isinstance(reply.body, bytes)
    assert json.loads(reply.body)["id"] == "m"
    assert (await path.ask("GET", "/v1/models/nope")).status == 404


async def test_an_error_settles_the_exchange_under_its_code() -> None:
    path = Path(ScriptedUpstreams())
    path.runtime.refusal = GatewayError("model_crashed", "crashed", retry_after=1)
    assert (await path.ask("POST", "/v1/chat/completions", CHAT)).status == 503
    assert 'appliance_rejections_total{model="m",reason="model_crashed"} 1.0' in text_of(path.metrics)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path",
    [
        *(
            "/sleep",
            "/wake_up",
            "/is_sleeping",
            "/collective_rpc",
            "/reset_prefix_cache",
            "/server_info",
            "/invocations",
        ),
        *("/v1/sleep", "/slots", "/props", "/tokenize", "/v1/load_lora_adapter", "/v1/models/../../sleep"),
    ],
)
async def test_routes_of_an_engine_that_are_not_in_the_table_are_never_passed_on(method: str, path: str) -> None:
    upstreams = ScriptedUpstreams(ScriptedReply(OK, headers=JSON))
    reply = await Path(upstreams).ask(method, path, CHAT)
    assert reply.status in {404, 405}


MESSAGE = b'{"model":"m","messages":[{"role":"user","content":"Hello!"}],"max_tokens":512}'
COMPLETION = b'{"choices":[{"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}'


@pytest.mark.parametrize("prefix", ["/v1", "/api/client/v1"])
@pytest.mark.parametrize("credential", [("authorization", "Bearer sk-a"), ("x-api-key", "sk-a")])
@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21", None])
async def test_messages_for_every_sdk(prefix: str, credential: tuple[str, str], version: str | None) -> None:
    path = Path(ScriptedUpstreams(ScriptedReply(COMPLETION, headers=JSON)))
    headers = [credential, *([("anthropic-version", version), ("anthropic-beta", "a,b")] if version else [])]
    reply = await path.ask("POST", f"{prefix}/messages", MESSAGE, key=None, headers=headers)
    assert reply.status == 200
    assert header(reply, "request-id") == header(reply, "x-request-id")
    assert header(reply, "content-type") == "application/json"
    assert isinstance(reply.body, bytes)
    assert json.loads(reply.body)["content"][0]["text"] == "Hi"
    ((_, asked),) = path.upstreams.asked
    assert asked.path == "/v1/chat/completions"
    assert (path.records[-1].operation, path.records[-1].status) == ("messages", 200)


async def test_messages_without_a_model_ask_the_default_one() -> None:
    path = Path(ScriptedUpstreams(ScriptedReply(COMPLETION, headers=JSON)))
    assert (await path.ask("POST", "/v1/messages", MESSAGE.replace(b'"model":"m",', b""))).status == 200
    assert path.records[-1].model == "both"


async def test_messages_without_a_model_where_none_is_the_default() -> None:
    path = Path()
    path.gateway.catalogue.default = ""
    reply = await path.ask("POST", "/v1/messages", MESSAGE.replace(b'"model":"m",', b""))
    assert isinstance(reply.body, bytes)
    assert (reply.status, json.loads(reply.body)["error"]["param"]) == (400, "model")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "kind"),
    [
        ("POST", "/v1/messages", MESSAGE.replace(b'"m"', b'"nope"'), 404, "not_found_error"),
        ("POST", "/v1/messages", b"{", 422, "invalid_request_error"),
        ("POST", "/v1/messages/count_tokens", b"{}", 400, "invalid_request_error"),
        ("GET", "/v1/messages", b"", 405, "invalid_request_error"),
        ("POST", "/api/client/v1/messages/batches", b"", 404, "not_found_error"),
    ],
)
async def test_errors_of_messages_have_their_own_envelope(
    method: str, path: str, body: bytes, status: int, kind: str
) -> None:
    reply = await Path().ask(method, path, body)
    assert isinstance(reply.body, bytes)
    value = json.loads(reply.body)
    assert (reply.status, value["type"], value["error"]["type"]) == (status, "error", kind)
    assert value["request_id"] == header(reply, "request-id")


async def test_an_engines_error_keeps_its_status_and_changes_its_envelope() -> None:
    error = b'{"error":{"message":"slow down","type":"x","code":429}}'
    path = Path(ScriptedUpstreams(ScriptedReply(error, status=429, headers=[*JSON, ("retry-after", "3")])))
    reply = await path.ask("POST", "/v1/messages", MESSAGE)
    assert isinstance(reply.body, bytes)
    assert json.loads(reply.body)["error"]["type"] == "rate_limit_error"
    assert (reply.status, header(reply, "retry-after"), header(reply, "x-error-source")) == (429, "3", "backend")
