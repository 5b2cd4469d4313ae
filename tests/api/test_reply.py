import json

import pytest

from appliance.api.reply import error_reply, json_reply, with_ids
from appliance.domain.http import Reply
from appliance.errors import TABLE, GatewayError


@pytest.mark.parametrize("code", TABLE)
def test_every_code_becomes_its_status_with_a_readable_body(code: str) -> None:
    reply = error_reply(GatewayError(code, "what to do", retry_after=2), "req-1")
    assert isinstance(reply.body, bytes)
    error = json.loads(reply.body)["error"]
    assert reply.status == TABLE[code].status
    assert (error["code"], error["type"], error["message"]) == (code, TABLE[code].type, "what to do")


def test_both_names_carry_the_request_id() -> None:
    reply = with_ids(Reply(200), "req-1")
    assert reply.headers == [("x-request-id", "req-1"), ("request-id", "req-1")]


def test_json_is_marked_as_json() -> None:
    reply = json_reply({"a": 1}, 503)
    assert (reply.status, reply.body, reply.headers) == (503, b'{"a":1}', [("content-type", "application/json")])
