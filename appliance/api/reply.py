"""Errors and headers as a Reply."""

import msgspec

from appliance.domain.calls import Dialect
from appliance.domain.http import Headers, Reply
from appliance.errors import GatewayError
from appliance.wire.error_body import error_body, error_headers


def error_reply(error: GatewayError, request_id: str, dialect: Dialect = Dialect.OPENAI) -> Reply:
    """The answer that an error is, as clients of a dialect read it."""
    headers: Headers = [("content-type", "application/json"), *error_headers(error)]
    return with_ids(Reply(error.row.status, headers, error_body(error, request_id, dialect)), request_id)


def json_reply(value: object, status: int = 200) -> Reply:
    """A JSON answer of our own."""
    return Reply(status, [("content-type", "application/json")], msgspec.json.encode(value))


def with_ids(reply: Reply, request_id: str) -> Reply:
    """The correlation id under both names: OpenAI's SDKs read one, Anthropic's the other."""
    reply.headers += [("x-request-id", request_id), ("request-id", request_id)]
    reply.identified = True
    return reply
