import json
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from appliance import __version__
from appliance.access.hosts import KnownHosts
from appliance.api.reply import json_reply
from appliance.api.routes import Route, Router
from appliance.domain.http import VERSION, Reply, Request
from tests.fakes.accounts import text_of
from tests.fakes.path import Bytes, Path, header
from tests.fakes.upstream_reply import ScriptedReply
from tests.fakes.upstreams import ScriptedUpstreams


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nope", 404, "unknown_url"), ("DELETE", "/v1/models", 405, "method_not_allowed")],
)
async def test_a_wrong_address_is_a_json_error_with_an_id(method: str, path: str, status: int, code: str) -> None:
    box = Path()
    reply = await box.ask(method, path)
    assert isinstance(reply.body, bytes)
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (status, code)
    assert header(reply, "x-request-id") == "req_" + "1" * 32
    assert 'route="_unknown"' in text_of(box.metrics)


@pytest.mark.parametrize("path", ["/v1/files", "/v1/models/nope"])
async def test_anthropics_clients_read_errors_in_their_shape_on_every_path(path: str) -> None:
    box = Path()
    for headers, kind in (([("anthropic-version", "2023-06-01")], "error"), ([], None)):
        reply = await box.ask("GET", path, headers=headers)
        assert isinstance(reply.body, bytes)
        assert (reply.status, json.loads(reply.body).get("type")) == (404, kind)


async def test_replies_are_counted_by_route_template_never_by_path() -> None:
    box = Path()
    await box.ask("GET", "/v1/models/some/whispered/name")
    text = text_of(box.metrics)
    assert 'route="/v1/models/{id}"' in text
    assert "whispered" not in text


async def test_a_bug_in_an_endpoint_is_a_500_and_a_traceback_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    box = Path()

    def broken(accept: str | None) -> tuple[bytes, str]:
        raise ZeroDivisionError

    monkeypatch.setattr(box.metrics, "render", broken)
    reply = await box.ask("GET", "/metrics")
    assert reply.status == 500
    assert "ZeroDivisionError" in caplog.text


async def test_where_no_key_protects_a_foreign_host_name_is_421() -> None:
    box = Path()
    guarded = replace(box.dispatch, hosts=KnownHosts([], "box"))
    for host, status in (("box:8000", 200), ("evil.example", 421)):
        request = Request("GET", "/healthz", "", [("host", host)], "127.0.0.1", Bytes(b""))
        assert (await guarded(request)).status == status


async def ask_as(box: Path, key: str | None, path: str = "/v1/models", peer: str = "10.0.0.1") -> tuple[int, float]:
    """The status, and how long it took."""
    headers = [("x-api-key", key)] if key else []
    began = trio.current_time()
    reply = await box.dispatch(Request("GET", path, "", headers, peer, Bytes(b"")))
    return reply.status, trio.current_time() - began


async def test_bad_keys_are_answered_slower_and_slower_and_a_good_one_at_once(autojump_clock: MockClock) -> None:
    box = Path()
    waits = [await ask_as(box, "sk-wrong") for _ in range(10)]
    assert waits == [(401, 0)] * 10
    assert await ask_as(box, None) == (401, 1)
    for path in ("/v1/models", "/v1/models/m", "/metrics"):
        status, wait = await ask_as(box, "sk-wrong", path)
        assert status == 401
        assert 1 <= wait <= 2
        assert await ask_as(box, "sk-a") == (200, 0)
    assert await ask_as(box, "sk-wrong", peer="10.0.0.2") == (401, 0)


async def test_an_inference_request_with_a_bad_key_waits_too_and_a_backends_401_does_not(
    autojump_clock: MockClock,
) -> None:
    upstream = [ScriptedReply(b"{}", status=401, headers=[("content-type", "application/json")]) for _ in range(12)]
    box = Path(ScriptedUpstreams(*upstream))
    body = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
    began = trio.current_time()
    for _ in range(12):
        assert (await box.ask("POST", "/v1/chat/completions", body)).status == 401
    assert trio.current_time() == began
    for _ in range(11):
        assert (await box.ask("POST", "/v1/chat/completions", body, key="sk-wrong")).status == 401
    assert trio.current_time() - began == 1


async def test_a_crowd_of_refusals_waits_side_by_side(autojump_clock: MockClock) -> None:
    box = Path()
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(500):
            nursery.start_soon(ask_as, box, "sk-wrong")
    assert trio.current_time() - began == 2


@pytest.mark.parametrize(("path", "version"), [("/ops/v1/x", __version__), ("/v1/x", None)])
async def test_operators_are_told_the_version_and_nobody_else_is(path: str, version: str | None) -> None:
    async def endpoint(request: Request, _: str) -> Reply:
        return json_reply({})

    dispatch = replace(Path().dispatch, router=Router([Route("GET", path, endpoint)]))
    reply = await dispatch(Request("GET", path, "", [], "127.0.0.1", Bytes(b"")))
    assert dict(reply.headers).get(VERSION) == version
