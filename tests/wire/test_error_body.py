import json

import pytest

from appliance.domain.calls import Dialect
from appliance.errors import TABLE, GatewayError
from appliance.wire.error_body import error_body, error_event, error_headers


def test_the_envelope_has_the_four_members_the_extras_and_the_id() -> None:
    error = GatewayError("model_loading", "Not yet.", extras={"state": "loading", "code": "mine"})
    assert json.loads(error_body(error, "r1")) == {
        "error": {
            "message": "Not yet.",
            "type": "overloaded",
            "param": None,
            "code": "model_loading",
            "state": "loading",
        },
        "request_id": "r1",
    }


def test_an_event_carries_the_same_object() -> None:
    error = GatewayError("stream_truncated", "Line one.\nLine two.")
    assert error_event(error, "r1") == b"data: " + error_body(error, "r1") + b"\n\n"


@pytest.mark.parametrize("code", TABLE)
def test_every_code_can_be_answered(code: str) -> None:
    assert json.loads(error_body(GatewayError(code, "x"), "r"))["error"]["type"] == TABLE[code].type
    assert ("x-error-source", "gateway") in error_headers(GatewayError(code, "x"))


def test_half_a_surrogate_pair_is_no_crash() -> None:
    assert json.loads(error_body(GatewayError("unknown_url", "\ud800", extras={"a": "\udfff"}), "r"))


@pytest.mark.parametrize(
    ("seconds", "header", "exact"),
    [(0, "1", "1"), (0.25, "1", "250"), (4.2, "5", "4200"), (1e9, "60", "60000"), (-3, "1", "1")],
)
def test_a_wait_is_one_to_sixty_whole_seconds(seconds: float, header: str, exact: str) -> None:
    headers = dict(error_headers(GatewayError("queue_full", "x", retry_after=seconds)))
    assert headers["retry-after"] == header
    assert headers["retry-after-ms"] == exact


def test_headers_tell_how_to_log_in_and_whether_to_retry() -> None:
    assert dict(error_headers(GatewayError("invalid_api_key", "x")))["www-authenticate"] == "Bearer"
    assert dict(error_headers(GatewayError("unsupported", "x")))["x-should-retry"] == "false"
    assert dict(error_headers(GatewayError("internal_error", "x"))) == {"x-error-source": "gateway"}


def test_messages_clients_get_their_own_envelope_and_types() -> None:
    value = json.loads(error_body(GatewayError("model_not_found", "No."), "r1", Dialect.MESSAGES))
    assert value["type"] == "error"
    assert (value["error"]["type"], value["error"]["code"], value["request_id"]) == (
        "not_found_error",
        "model_not_found",
        "r1",
    )
