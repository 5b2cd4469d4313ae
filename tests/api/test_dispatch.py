import json
from dataclasses import replace

import pytest

from appliance.access.hosts import KnownHosts
from appliance.domain.http import Request
from tests.fakes.accounts import text_of
from tests.fakes.path import Bytes, Path, header


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


async def test_replies_are_counted_by_route_template_never_by_path() -> None:
    box = Path()
    await box.ask("GET", "/v1/models/some/secret/name")
    text = text_of(box.metrics)
    assert 'route="/v1/models/{id}"' in text
    assert "secret" not in text


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
