import json

import pytest

from appliance.errors import TABLE, GatewayError
from appliance.translate.messages_error import engine_error, engine_error_event, error_event, type_of

KNOWN = {
    "invalid_request_error", "authentication_error", "billing_error", "permission_error", "not_found_error",
    "conflict_error", "request_too_large", "rate_limit_error", "api_error", "overloaded_error", "timeout_error",
}  # fmt: skip


@pytest.mark.parametrize("status", range(400, 600))
def test_every_status_has_a_type_that_clients_know(status: int) -> None:
    assert type_of(status) in KNOWN


@pytest.mark.parametrize("code", TABLE)
def test_every_error_of_ours_has_a_type_that_clients_know(code: str) -> None:
    name, data = error_event(GatewayError(code, "x"), "r").decode().removesuffix("\n\n").split("\n")
    assert name == "event: error"
    value = json.loads(data.removeprefix("data: "))
    assert (value["type"], value["request_id"], value["error"]["code"]) == ("error", "r", code)
    assert value["error"]["type"] in KNOWN


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (b'{"error":{"message":"m","type":"BadRequestError","param":null,"code":400}}', "m", 400),
        (b'{"error":{"code":400,"message":"m","type":"invalid_request_error"}}', "m", 400),
        (b'{"error":"Unauthorized"}', "Unauthorized", 400),
        (b'{"detail":"m"}', "m", 400),
        (b'[{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}]', "m", 400),
        (b"<html>", "<html>", 400),
        (b"\xff" * 4000, "\ufffd" * 500, 400),
        (b"", "The model server answered with status 400 and no explanation.", 400),
        (b"[" * 100_000, "[" * 500, 400),
    ],
)
def test_every_shape_of_an_engines_error(body: bytes, message: str, code: int) -> None:
    assert json.loads(engine_error(400, body, "r")) == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": message, "code": code},
        "request_id": "r",
    }


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'{"error":{"message":"m","code":429}}', "rate_limit_error"),
        (b'{"error":{"message":"m","code":"odd"}}', "api_error"),
        (b'{"error":"m"}', "api_error"),
    ],
)
def test_an_error_in_a_stream(data: bytes, kind: str) -> None:
    event = engine_error_event(data, "r")
    assert event.startswith(b"event: error\ndata: {")
    error = json.loads(event[len(b"event: error\ndata: ") :])["error"]
    assert (error["type"], error["message"]) == (kind, "m")
