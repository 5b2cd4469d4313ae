"""An error of ours as a client sees it: the envelope of its dialect, an event of a stream, and the headers."""

import math

import msgspec

from appliance import sse
from appliance.domain.calls import Dialect
from appliance.domain.http import Headers
from appliance.errors import GatewayError

_LONGEST_WAIT = 60.0  # seconds; some official SDKs ignore a longer one and use a guess of their own


def error_body(error: GatewayError, request_id: str, dialect: Dialect = Dialect.OPENAI) -> bytes:
    """The JSON body; extras can never replace one of the four standard members."""
    envelope: dict[str, object] = {"type": "error"} if dialect is Dialect.MESSAGES else {}
    envelope |= {"error": error_members(error, dialect), "request_id": _clean(request_id)}
    return msgspec.json.encode(envelope)


def error_members(error: GatewayError, dialect: Dialect = Dialect.OPENAI) -> dict[str, object]:
    """The `error` object itself."""
    members: dict[str, object] = {
        "message": _clean(error.message),
        "type": error.row.messages_type if dialect is Dialect.MESSAGES else error.row.type,
        "param": None if error.param is None else _clean(error.param),
        "code": error.code,
    }
    for name, value in error.extras.items():
        members.setdefault(name, _clean(value) if isinstance(value, str) else value)
    return members


def error_event(error: GatewayError, request_id: str) -> bytes:
    """The same object as one event, for a stream that already began."""
    return sse.event(error_body(error, request_id))


def error_headers(error: GatewayError) -> Headers:
    """What the SDKs go by: when to try again, whether to, and that it was us who answered."""
    headers: Headers = [("x-error-source", "gateway")]
    if error.row.status == 401:
        headers.append(("www-authenticate", "Bearer"))
    if error.row.retry is not None:
        headers.append(("x-should-retry", "true" if error.row.retry else "false"))
    if error.retry_after is not None:
        wait = max(error.retry_after, 0.0)
        if error.row.retry is not False:  # a client that tries again by itself gets a wait that it obeys
            wait = min(wait, _LONGEST_WAIT)
        headers.append(("retry-after", str(max(1, math.ceil(wait)))))
        headers.append(("retry-after-ms", str(max(1, math.ceil(wait * 1000)))))
    return headers


def _clean(text: str) -> str:
    """Text that can be encoded: a path may bring in half a surrogate pair."""
    return text.encode("utf-8", "replace").decode()
