import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from appliance.domain.calls import KINDS, Operation
from appliance.domain.engines import ENGINES
from appliance.errors import GatewayError
from appliance.routing.catalogue import PublicModel
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
        *(
            "/v1/sleep",
            "/slots",
            "/props",
            "/pooling",
            "/v1/v1/tokenize",
            "/v1/load_lora_adapter",
            "/v1/models/../../sleep",
        ),
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


JSON_OPERATIONS = [operation for operation in Operation if not operation.form and not operation.socket]
ANY: dict[str, Any] = {
    "model": "remote",
    "messages": [{"role": "user", "content": "x"}],
    "prompt": "x",
    "input": "x",
    "query": "x",
    "documents": ["x"],
    "tokens": [1],
}
PATHS = [
    pytest.param(operation, path, id=path)
    for operation in Operation
    if not operation.socket
    for path in (operation.path, operation.path.replace("/v1", "/api/client/v1", 1), *operation.aliases)
]


def form(model: str = "remote") -> tuple[bytes, list[tuple[str, str]]]:
    request = httpx.Request("POST", "http://x", data={"model": model}, files={"file": ("a.wav", b"RIFF")})
    return request.read(), [("content-type", request.headers["content-type"])]


def asked(operation: Operation, **changes: Any) -> tuple[bytes, list[tuple[str, str]]]:
    """A good request for an operation."""
    if operation.form:
        return form(**changes)
    return json.dumps(ANY | changes).encode(), [("content-type", "application/json")]


@pytest.mark.parametrize(("operation", "route"), PATHS)
async def test_every_route_reaches_its_engine_under_the_engines_name(operation: Operation, route: str) -> None:
    answer = COMPLETION if operation is Operation.MESSAGES else b'{"input_tokens":3,"usage":{"total_tokens":7}}'
    path = Path(ScriptedUpstreams(ScriptedReply(answer, headers=JSON)))
    path.gateway.catalogue._configured["remote"] = every_kind(path)
    body, headers = asked(operation)
    reply = await path.ask("POST", route, body, headers=headers)
    assert reply.status == 200, reply.body
    ((_, sent),) = path.upstreams.asked
    assert sent.path == operation.engine_path
    assert b"remote" not in sent.body
    assert header(reply, "x-request-id")
    assert header(reply, "x-gateway-model") == "remote"
    assert path.records[-1].operation == operation
    assert isinstance(reply.body, bytes)
    if operation is not Operation.MESSAGES:
        assert json.loads(reply.body)["request_id"] == header(reply, "x-request-id")
    if operation not in {Operation.MESSAGES, Operation.COUNT_TOKENS}:
        assert path.records[-1].usage.input in {3, 7}


def every_kind(path: Path) -> PublicModel:
    """A model that does everything, on an engine that does."""
    model = path.gateway.catalogue._configured["remote"]
    return replace(model, targets=tuple(replace(target, engine="openai") for target in model.targets))


@pytest.mark.parametrize("operation", [operation for operation in Operation if not operation.socket])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_another_method_is_405_in_json(operation: Operation, method: str) -> None:
    reply = await Path().ask(method, operation.path)
    assert isinstance(reply.body, bytes)
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize("operation", [operation for operation in Operation if not operation.socket])
async def test_an_unknown_model_is_404_on_every_route(operation: Operation) -> None:
    body, headers = asked(operation, model="nope")
    reply = await Path().ask("POST", operation.path, body, headers=headers)
    assert isinstance(reply.body, bytes)
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("operation", sorted(set(Operation) - KINDS["chat"] - {Operation.REALTIME}))
async def test_a_model_of_another_kind_is_422_on_every_route(operation: Operation) -> None:
    body, headers = asked(operation, model="m")
    reply = await Path().ask("POST", operation.path, body, headers=headers)
    assert isinstance(reply.body, bytes)
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (422, "model_category_mismatch")


@pytest.mark.parametrize("operation", sorted(set(Operation) - ENGINES["vllm"].operations))
async def test_an_engine_that_never_does_it_is_501_and_not_asked(operation: Operation) -> None:
    path = Path()
    body, headers = asked(operation)
    reply = await path.ask("POST", operation.path, body, headers=headers)
    assert isinstance(reply.body, bytes)
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (501, "unsupported")
    assert header(reply, "x-should-retry") == "false"
    assert path.upstreams.asked == []


OPTIONAL = sorted(set(ENGINES["vllm"].operations) - {"chat", "completion", "messages", "count_tokens", "realtime"})


@pytest.mark.parametrize("operation", OPTIONAL)
async def test_an_engine_that_was_not_started_for_it_is_501_on_every_route(operation: Operation) -> None:
    absent = ScriptedReply(b'{"detail":"Not Found"}', status=404, headers=JSON)
    body, headers = asked(operation)
    reply = await Path(ScriptedUpstreams(absent)).ask("POST", operation.path, body, headers=headers)
    assert isinstance(reply.body, bytes)
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (501, "unsupported")
    assert header(reply, "x-should-retry") == "false"


async def test_speech_passes_as_it_is_made() -> None:
    sound = ScriptedReply(b"ID3", b"\x00\xff", headers=[("content-type", "audio/mpeg"), ("server", "x")])
    path = Path(ScriptedUpstreams(sound))
    reply = await path.ask("POST", "/v1/audio/speech", b'{"model":"remote","input":"Hi","voice":"a"}')
    assert not isinstance(reply.body, bytes)
    assert [part async for part in reply.body] == [b"ID3", b"\x00\xff"]
    await reply.body.aclose()
    assert (header(reply, "content-type"), header(reply, "server")) == ("audio/mpeg", None)
    assert (path.records[-1].operation, path.records[-1].stream, path.records[-1].bytes_out) == ("speech", True, 5)


async def test_a_transcript_may_be_plain_text() -> None:
    path = Path(ScriptedUpstreams(ScriptedReply(b"Hi.\n", headers=[("content-type", "text/plain")])))
    body, headers = form()
    reply = await path.ask("POST", "/v1/audio/transcriptions", body, headers=headers)
    assert not isinstance(reply.body, bytes)
    assert b"".join([part async for part in reply.body]) == b"Hi.\n"
    await reply.body.aclose()
    sent = path.upstreams.asked[0][1]
    assert sent.headers == headers
    assert sent.body == body.replace(b"remote", b"x")


TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("sent", "trace", "flags"),
    [
        (f"00-{TRACE}-{PARENT}-00", TRACE, "00"),
        (f"00-{TRACE}-{PARENT}-01", TRACE, "01"),
        (None, "0" * 32, "01"),
        (f"00-{'0' * 32}-{PARENT}-01", "0" * 32, "01"),
        ("nonsense", "0" * 32, "01"),
    ],
)
async def test_the_trace_of_the_client_or_one_of_ours_goes_to_the_engine_and_into_the_log(
    sent: str | None, trace: str, flags: str
) -> None:
    path = Path(ScriptedUpstreams(ScriptedReply(OK, headers=JSON)))
    headers = [("traceparent", sent)] if sent else []
    assert (await path.ask("POST", "/v1/chat/completions", CHAT, headers=headers)).status == 200
    (_, request), (record,) = path.upstreams.asked[-1], path.records
    assert request.trace == f"00-{trace}-{'0' * 16}-{flags}"
    assert record.trace_id == trace


async def test_a_cloud_is_not_told_the_trace() -> None:
    path = Path(ScriptedUpstreams(ScriptedReply(OK, headers=JSON)))
    byok = [("x-byok-provider", "openai"), ("x-byok-api-key", "sk-own"), ("traceparent", f"00-{TRACE}-{PARENT}-01")]
    await path.ask("POST", "/v1/chat/completions", CHAT, headers=byok)
    (_, request) = path.upstreams.asked[-1]
    assert request.trace == ""
    assert TRACE not in str(request.headers)
    assert path.records[-1].trace_id == TRACE
